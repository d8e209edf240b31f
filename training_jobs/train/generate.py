"""Generates text with an exported GPT: `python -m gpuyard.training_jobs.train.generate model=URL prompt="def " tokens=200`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch

from . import export
from .config import Config, ConfigError
from .optional import require_optional
from .shards import DataIndex, open_filesystem


@dataclass(frozen=True)
class LoadedModel:
    """An exported model and its tokenizer. Without a tokenizer, each byte is a token."""

    net: Any
    config: Config
    index: DataIndex
    tokenizer: Any | None

    def encode(self, text: str) -> list[int]:
        """Encode text as at least one token."""
        tokens: list[int] = self.tokenizer.encode(text).ids if self.tokenizer else list(text.encode())
        return tokens or [10 if self.tokenizer is None else 0]

    def decode(self, tokens: list[int]) -> str:
        """Decode tokens to text."""
        return str(self.tokenizer.decode(tokens)) if self.tokenizer else bytes(tokens).decode(errors="replace")


def load_model(url: str) -> LoadedModel:
    """Load an exported GPT. Raises OSError if it does not exist, ConfigError if it is not a GPT."""
    net, config, index = export.load(url)
    if config.task != "gpt":
        raise ConfigError(f"model: got {url}, a {config.task}, allowed: a gpt; fix: python -m gpuyard.training_jobs.train.predict")
    return LoadedModel(net, config, index, load_tokenizer(url, index))


def load_tokenizer(url: str, index: DataIndex) -> Any | None:
    """Load the tokenizer from a data folder or a model folder; None if each byte is a token."""
    if index.tokenizer == "bytes":
        return None
    fs, root = open_filesystem(url.rstrip("/"))
    text = fs.cat_file(f"{root}/{index.tokenizer}").decode()
    return require_optional("tokenizers", "this model's tokenizer").Tokenizer.from_str(text)


@torch.no_grad()
def generate_text(model: LoadedModel, prompt: str, count: int, temperature: float = 0.8, seed: int = 0) -> str:
    """Generate `count` tokens after the prompt and return both as text. Temperature 0 takes the likeliest token."""
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
    """Print generated text. Returns an exit code."""
    arguments = dict(word.partition("=")[::2] for word in words)
    wrong = arguments.keys() - {"model", "prompt", "tokens", "temperature", "seed"}
    if wrong or "model" not in arguments:
        print(
            "usage: python -m gpuyard.training_jobs.train.generate model=URL [prompt=TEXT] [tokens=200] [temperature=0.8] [seed=0]",
            file=sys.stderr,
        )
        return 64
    try:
        numbers = int(arguments.get("tokens", "200")), float(arguments.get("temperature", "0.8")), int(arguments.get("seed", "0"))
        print(generate_text(load_model(arguments["model"]), arguments.get("prompt", ""), *numbers))
    except (ConfigError, ValueError, OSError) as error:
        print(f"generate: {error}", file=sys.stderr)
        return 64
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
