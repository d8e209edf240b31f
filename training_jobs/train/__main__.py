"""Trains a byte-level GPT on the standard library's own text: `python -m training_jobs.train`, or the same under torchrun."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from ..launch import hook
from .config import ConfigError, Surroundings, parse
from .corpus import bigram_entropy
from .loop import IO_ERROR, Trainer

_TEARDOWN_S = 10.0


def main(words: list[str]) -> int:
    """Train, validate, leave result.json. Returns a job's exit code."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        config = parse(words, int(os.environ.get("WORLD_SIZE", "1")))
        torch.set_num_threads(config.threads)
        _join()
        around = Surroundings.of(config)
        trainer = Trainer(config, around)
        figures = trainer.train()
    except ConfigError as error:
        if rank == 0:
            print(f"train: {error}", file=sys.stderr, flush=True)
        if dist.is_initialized():
            _part(hook.BAD_CONFIG)
        return hook.BAD_CONFIG
    result = _result(trainer, figures)
    code = hook.DONE
    if rank == 0:
        hook.report(trainer.step, val_loss=result["val_loss"], steps=config.steps, lost_steps=trainer.lost_steps)
        code = _leave(around.output_url, result)
    _part(code)
    return code


def _join() -> None:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)


def _part(code: int) -> None:
    """Leave together, and for certain: a gloo rank that leaves early hangs the others, teardown can hang by itself."""
    dist.barrier()
    watchdog = threading.Timer(_TEARDOWN_S, os._exit, [code])
    watchdog.daemon = True
    watchdog.start()
    dist.destroy_process_group()


def _result(trainer: Trainer, figures: dict[str, Any]) -> dict[str, Any]:
    """The run's figures under their lasting names; what is not measured yet is null."""
    config, around = trainer.config, trainer.around
    entropy = bigram_entropy(trainer.data.validation)
    val_loss = trainer.validate()
    verdict = "beaten" if val_loss < entropy else "not beaten"
    if trainer.rank == 0:
        print(f"validation loss {val_loss:.4f} nats/byte; the text's own bigram entropy is {entropy:.4f}: {verdict}", flush=True)
    return {
        "version": 1,
        "run_id": around.run_id,
        "attempt": around.attempt,
        "step": trainer.step,
        "steps": config.steps,
        "loss": figures["loss"],
        "val_loss": val_loss,
        "bigram_entropy": entropy,
        "tokens_per_s": figures["tokens_per_s"],
        "mfu": None,
        "goodput": None,
        "lost_steps": trainer.lost_steps,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "world": trainer.world,
        "checkpoint_url": f"{around.checkpoint_url}/{trainer.step}",
    }


def _leave(output_url: str, result: dict[str, Any]) -> int:
    url = f"{output_url}/result.json"
    try:
        fs, path = fsspec.core.url_to_fs(unquote(urlsplit(url).path) if urlsplit(url).scheme == "file" else url)
        fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        fs.pipe_file(path, json.dumps(result, indent=1).encode())
    except OSError as error:
        print(f"train: cannot write {url}: {error}", file=sys.stderr, flush=True)
        return IO_ERROR
    return hook.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
