"""Trains a GPT or a small ResNet: `python -m gpuyard.training_jobs.train [preset=NAME] [key=value ...]`, or the same under torchrun.

Without words: a byte-level GPT on the standard library's own text. README.md beside this file tells the rest.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from ..launch import hook
from .artifacts import leave_artifacts, result
from .config import ConfigError, Surroundings, digest, parse
from .loop import IO_ERROR, NotFiniteError, Trainer
from .parallel import join, part

FAILED = 1


def main(words: list[str]) -> int:
    """Train, validate, leave result.json and the model. Returns a job's exit code."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        config = parse(words)
        torch.set_num_threads(config.threads)
        join()
        trainer = Trainer(config, Surroundings.of(config))
        code = _begin(trainer)
        if code == hook.DONE:
            figures = trainer.train()
            code = _finish(trainer, figures)
    except (ConfigError, NotFiniteError) as error:
        code = hook.BAD_CONFIG if isinstance(error, ConfigError) else FAILED
        if rank == 0:
            print(f"train: {error}", file=sys.stderr, flush=True)
    if dist.is_initialized():
        part(code)
    return code


def _begin(trainer: Trainer) -> int:
    """Write the resolved config beside the run; all ranks learn whether the output can be written at all."""
    config = trainer.config
    about = {"digest": digest(config), "torch": torch.__version__, "world": trainer.place.world, "config": asdict(config)}
    if trainer.metrics.missing:
        trainer.say(trainer.metrics.missing)
    return _left(trainer, lambda: trainer.output.leave("config.json", json.dumps(about, indent=1)))


def _finish(trainer: Trainer, figures: dict[str, Any]) -> int:
    """Validate, report, export, and leave result.json as the last file."""
    validated = trainer.validate()
    trainer.metrics.write(trainer.step, {name: value for name, value in validated.items() if isinstance(value, float)})
    found = result(trainer, figures, validated)
    state = trainer.run.whole_weights()  # all ranks take part
    lost_steps = trainer.run.account.lost_steps
    hook.report(trainer.step, val_loss=validated["val_loss"], steps=trainer.config.steps, lost_steps=lost_steps)

    def leave() -> None:
        leave_artifacts(trainer, found, state)
        trainer.output.leave("result.json", json.dumps(found, indent=1))

    return _left(trainer, leave)


def _left(trainer: Trainer, leave: Callable[[], None]) -> int:
    """Rank 0 writes files; all ranks get the same code."""
    code = torch.tensor([hook.DONE])
    if trainer.place.rank == 0:
        try:
            leave()
        except OSError as error:
            print(f"train: cannot write below {trainer.output.url}: {error}", file=sys.stderr, flush=True)
            code.fill_(IO_ERROR)
    dist.broadcast(code, 0)
    return int(code.item())


if __name__ == "__main__":
    sys.exit(record(main)(sys.argv[1:]))  # torchrun hears what went wrong
