"""The trainer's settings: one dataclass, and `key=value` words over its defaults."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """A setting that cannot be used; the message names every problem."""


@dataclass(frozen=True)
class Config:
    """What is trained and how. The defaults fit a few CPU cores and a minute."""

    steps: int = 400
    batch: int = 48  # windows in one step, over all ranks
    context: int = 64  # bytes in a window
    width: int = 96
    layers: int = 2
    heads: int = 2
    dropout: float = 0.0
    lr: float = 6e-3
    warmup: int = 20
    weight_decay: float = 0.1
    seed: int = 0
    corpus_bytes: int = 4 * 2**20
    val_bytes: int = 256 * 2**10
    save_every_steps: int = 0  # 0: by the clock alone, GPUYARD_CHECKPOINT_EVERY_S
    threads: int = 1  # of each rank on the CPU
    out: str = ""  # a URL; empty: GPUYARD_OUTPUT_URL, else ./gpuyard-train


@dataclass(frozen=True)
class Surroundings:
    """What the platform decides: where to write, how often, and which attempt this is."""

    output_url: str
    checkpoint_url: str
    checkpoint_every_s: float
    checkpoint_keep: int
    attempt: int
    run_id: str | None

    @classmethod
    def of(cls, config: Config) -> Surroundings:
        """From the GPUYARD_* variables; without them, a folder of the current directory."""
        env = os.environ
        output = config.out or env.get("GPUYARD_OUTPUT_URL") or Path("gpuyard-train").absolute().as_uri()
        return cls(
            output_url=output,
            checkpoint_url=env.get("GPUYARD_CHECKPOINT_URL") or f"{output}/checkpoints",
            checkpoint_every_s=float(env.get("GPUYARD_CHECKPOINT_EVERY_S", "60")),
            checkpoint_keep=int(env.get("GPUYARD_CHECKPOINT_KEEP", "3")),
            attempt=int(env.get("GPUYARD_ATTEMPT", "1")),
            run_id=env.get("GPUYARD_RUN_ID"),
        )


def parse(words: Sequence[str], world: int) -> Config:
    """A Config from `key=value` words, checked for `world` ranks. Raises ConfigError with every problem at once."""
    known = {field.name: field for field in fields(Config)}
    values: dict[str, Any] = {}
    problems = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {close[0]}=?" if close else f"; allowed: {', '.join(known)}"
            problems.append(f"{word!r} is no key=value that train knows{hint}")
            continue
        kind: type[Any] = type(known[key].default)
        try:
            values[key] = kind(text)
        except ValueError:
            problems.append(f"{key}: got {text!r}, wants {'a whole number' if kind is int else 'a number'}")
    config = Config(**values)
    problems += _impossible(config, world)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _impossible(config: Config, world: int) -> list[str]:
    problems = [
        f"{name}: got {getattr(config, name)}, must be at least 1"
        for name in ("steps", "batch", "context", "width", "layers", "heads", "threads", "corpus_bytes", "val_bytes")
        if getattr(config, name) < 1
    ]
    if problems:
        return problems
    if config.width % (2 * config.heads):
        problems.append(f"width: got {config.width}, must be a multiple of 2 x heads ({2 * config.heads})")
    if config.batch % world:
        problems.append(f"batch: got {config.batch}, must be a multiple of the {world} ranks")
    if config.val_bytes <= config.context * world:
        problems.append(f"val_bytes: got {config.val_bytes}, must be more than one window per rank ({config.context * world})")
    if not 0 <= config.dropout < 1:
        problems.append(f"dropout: got {config.dropout}, allowed: 0 to below 1")
    return problems
