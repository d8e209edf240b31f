"""Exports the model: model.safetensors, config.json, a model card, and the tokenizer if there is one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import safetensors.torch
import torch
from torch import Tensor, nn

from . import huggingface, tensor_file
from .config import Config
from .data import Dataset
from .metrics import Output
from .shards import DataIndex, open_filesystem
from .tasks import TASKS, Figures

_CARD_FIELDS = (
    "val_loss",
    "perplexity",
    "bits_per_byte",
    "accuracy",
    "f1_macro",
    "steps",
    "parameters",
    "world",
    "goodput",
    "lost_steps",
    "run_id",
)


def write(output: Output, config: Config, data: Dataset, found: Figures, weights: dict[str, Tensor]) -> None:
    """Write the model's files below `model/`. Raises OSError."""
    index = asdict(data.index) | {"splits": {}}
    output.write("model/model.safetensors", tensor_file.encode(weights, {"format": "pt"}))
    output.write("model/config.json", json.dumps({"version": 1, "config": asdict(config), "index": index}, indent=1))
    output.write("model/README.md", _card(config, found))
    if data.index.tokenizer != "bytes":
        fs, root = open_filesystem(data.url)
        tokenizer = fs.cat_file(f"{root}/{data.index.tokenizer}")
        output.write(f"model/{data.index.tokenizer}", tokenizer)
        if config.model == "llama":
            output.write("huggingface/tokenizer.json", tokenizer)
    if config.model == "llama":
        huggingface.save(output, "huggingface", config, weights)


def load(url: str) -> tuple[nn.Module, Config, DataIndex]:
    """Load an exported model for inference. Raises OSError if it does not exist."""
    fs, root = open_filesystem(url.rstrip("/"))
    about = json.loads(fs.cat_file(f"{root}/config.json"))
    config, index = Config(**about["config"]), DataIndex(**about["index"])
    return build(config, index, safetensors.torch.load(fs.cat_file(f"{root}/model.safetensors"))), config, index


def build(config: Config, index: DataIndex, weights: dict[str, Tensor]) -> nn.Module:
    """Build a model for inference from its weights, on a GPU if there is one."""
    config = replace(config, loss="plain", recompute="none")
    with torch.device("meta"):  # no second copy of the weights
        model = TASKS[config.task](config, Dataset(index, None, None)).model()
    model.load_state_dict(weights, assign=True)
    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    return model.to(device).eval()


def _card(config: Config, found: Figures) -> str:
    rows = [f"| {name} | {found[name]} |" for name in _CARD_FIELDS if found.get(name) is not None]
    use = "generate model=. prompt=..." if config.task == "gpt" else "predict model=. image.png ..."
    lines = [
        f"# {config.preset}",
        "",
        f"A {config.task} trained by gpuyard's training program on `{config.data}`.",
        "",
        "| figure | value |",
        "|---|---|",
        *rows,
        "",
        f"Use: `python -m gpuyard.training_jobs.train.{use}`. The settings are in config.json.",
        "",
        "Intended use, limits and licence depend on the data: please fill them in.",
    ]
    return "\n".join(lines) + "\n"
