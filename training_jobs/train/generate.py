"""Writes text with an exported GPT: `python -m gpuyard.training_jobs.train.generate model=URL prompt="def " tokens=200`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch

from . import export
from .config import Config, ConfigError
from .optional import need
from .shards import Index, filesystem


@dataclass(frozen=True)
class Model:
    """An exported model and what turns text into tokens."""

    net: Any
    config: Config
    index: Index
    tokenizer: Any | None

    def encode(self, text: str) -> list[int]:
        """Text as tokens; never empty."""
        tokens: list[int] = self.tokenizer.encode(text).ids if self.tokenizer else list(text.encode())
        return tokens or [10 if self.tokenizer is None else 0]

    def decode(self, tokens: list[int]) -> str:
        """Tokens as text."""
        return str(self.tokenizer.decode(tokens)) if self.tokenizer else bytes(tokens).decode(errors="replace")


def open_model(url: str) -> Model:
    """Load an export. Raises OSError when it is not there, ConfigError when it is no GPT."""
    net, config, index = export.load(url)
    if config.task != "gpt":
        raise ConfigError(f"model: got {url}, a {config.task}. fix: python -m gpuyard.training_jobs.train.predict")
    tokenizer = None
    if index.tokenizer != "bytes":
        fs, root = filesystem(url.rstrip("/"))
        text = fs.cat_file(f"{root}/{index.tokenizer}").decode()
        tokenizer = need("tokenizers", "this model's tokenizer").Tokenizer.from_str(text)
    return Model(net, config, index, tokenizer)


@torch.no_grad()
def sample(model: Model, prompt: str, count: int, temperature: float = 0.8, seed: int = 0) -> str:
    """The prompt and what the model writes after it."""
    device = next(model.net.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    tokens = model.encode(prompt)
    for _ in range(count):
        window = torch.tensor([tokens[-model.config.context :]], device=device)
        scores = model.net.logits(window)[0, -1, : model.index.vocab]
        if temperature <= 0:
            tokens.append(int(scores.argmax()))
        else:
            tokens.append(int(torch.multinomial((scores / temperature).softmax(0), 1, generator=generator)))
    return model.decode(tokens)


def main(words: list[str]) -> int:
    """Print a sample. Returns an exit code."""
    given = dict(word.partition("=")[::2] for word in words)
    wrong = given.keys() - {"model", "prompt", "tokens", "temperature", "seed"}
    if wrong or "model" not in given:
        print(
            "usage: python -m gpuyard.training_jobs.train.generate model=URL [prompt=TEXT] [tokens=200] [temperature=0.8] [seed=0]",
            file=sys.stderr,
        )
        return 64
    try:
        numbers = int(given.get("tokens", "200")), float(given.get("temperature", "0.8")), int(given.get("seed", "0"))
        print(sample(open_model(given["model"]), given.get("prompt", ""), *numbers))
    except (ConfigError, ValueError, OSError) as error:
        print(f"generate: {error}", file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
