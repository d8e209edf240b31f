"""Trains a GPT or a small ResNet: `python -m gpuyard.training_jobs.train [preset=NAME] [key=value ...]`, or the same under torchrun.

Without arguments it trains a byte-level GPT on the standard library's source text. README.md beside this file has the details.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

from ..launch import hook
from ..launch.storage import StorageUnreachableError
from . import huggingface
from .artifacts import build_result, write_artifacts
from .config import ConfigError, RunEnvironment, digest, parse_config
from .loop import IO_ERROR, NotFiniteError, Trainer
from .process_group import compute_deterministically, join_process_group, leave_process_group
from .shards import DamagedShardError
from .tasks import Figures

FAILED = 1


def main(words: list[str]) -> int:
    """Train, validate, and write result.json and the model. Returns the job's exit code."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        config = parse_config(words)
        config = huggingface.with_shape(config) if config.init else config
        torch.set_num_threads(config.threads)
        if config.deterministic == "on":
            compute_deterministically()
        join_process_group()
        trainer = Trainer(config, RunEnvironment.from_env(config))
        code = _begin(trainer)
        if code == hook.DONE:
            figures = trainer.train()
            code = _finish(trainer, figures)
    except (ConfigError, NotFiniteError) as error:
        code = hook.BAD_CONFIG if isinstance(error, ConfigError) else FAILED
        alone = isinstance(error, DamagedShardError)
        if rank == 0 or alone:
            print(f"train: {error}", file=sys.stderr, flush=True)
        if alone and dist.get_world_size() > 1:
            os._exit(code)  # no barrier: the other ranks wait in a collective of the step
    except StorageUnreachableError as error:
        code = IO_ERROR
        print(f"train: storage cannot be used: {error}", file=sys.stderr, flush=True)
        if dist.is_initialized() and dist.get_world_size() > 1:
            os._exit(code)  # the other ranks may wait in a collective
    if dist.is_initialized():
        leave_process_group(code)
    return code


def _begin(trainer: Trainer) -> int:
    """Write the resolved config. If that fails, return 74 on all ranks."""
    config = trainer.config
    document = {"digest": digest(config), "torch": torch.__version__, "world": trainer.ranks.world, "config": asdict(config)}
    return _on_rank_0(trainer, lambda: trainer.output.write("config.json", json.dumps(document, indent=1)))


def _finish(trainer: Trainer, figures: Figures) -> int:
    """Validate, report, export, and write result.json last."""
    trainer.state.net.lengthen_timeouts()
    validated = trainer.validate()
    trainer.metrics.write(trainer.step, {name: value for name, value in validated.items() if isinstance(value, float)})
    found = build_result(trainer, figures, validated)
    state = trainer.state.full_weights()  # all ranks take part
    lost_steps = trainer.state.account.lost_steps
    hook.report(trainer.step, val_loss=validated["val_loss"], steps=trainer.config.steps, lost_steps=lost_steps)

    def write() -> None:
        write_artifacts(trainer, found, state)
        trainer.output.write("result.json", json.dumps(found, indent=1))

    return _on_rank_0(trainer, write)


def _on_rank_0(trainer: Trainer, write: Callable[[], None]) -> int:
    """Write files on rank 0. Returns the same exit code on all ranks."""
    code = torch.tensor([hook.DONE])
    if trainer.ranks.rank == 0:
        try:
            write()
        except OSError as error:
            print(f"train: cannot write below {trainer.output.url}: {error}", file=sys.stderr, flush=True)
            code.fill_(IO_ERROR)
    dist.broadcast(code, 0)
    return int(code.item())


if __name__ == "__main__":
    sys.exit(record(main)(sys.argv[1:]))  # torchrun gets the error of a failed rank
