"""Several ranks: exact resume, other numbers of ranks, all strategies, microbatches. The processes start once for all tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.train.config import Config, RunEnvironment
from tests.helpers.waiting import WAIT_LIMIT_S

BASE = Config(steps=6, batch=6, context=16, width=16, layers=2, corpus_bytes=60_000, val_bytes=4096, save_every_steps=2)
DROPS = replace(BASE, dropout=0.2)
Job = tuple[int, str, Config, int]  # ranks, folder, settings, attempt
Crew = Callable[..., list[dict[str, Any]]]


def _work(rank: int, folder: str, jobs: Any, results: Any) -> None:
    """Train jobs from the queue in one process, as one rank of as many as the job has."""
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import FileStore

    from gpuyard.training_jobs.train.loop import Trainer

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for number, (world, where, config, attempt) in enumerate(iter(jobs.get, None)):
        if rank >= world:
            continue
        os.environ["LOCAL_WORLD_SIZE"] = "2"  # four ranks are two nodes
        store = FileStore(f"{folder}/store-{number}", world)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
        try:
            trainer = Trainer(config, RunEnvironment(where, f"{where}/checkpoints", 600, 9, attempt, None))
            began, printed = trainer.step, list[str]()
            setattr(trainer, "log", printed.append)  # noqa: B010 mypy holds methods to be constant
            if "/slow-" in where:  # the others wait too, so that a busy processor adds little to a window
                _slow_down(trainer.state.model.get_submodule("blocks.0.up"), 0.5 if where.endswith(f"/slow-{rank}") else 0.2)
            found = {"began": began, **trainer.train(), **trainer.validate(), "strategy": trainer.config.strategy, "printed": printed}
        except BaseException as error:  # reported to the parent
            found = {"error": repr(error)}
        if rank == 0:
            results.put(found)
        if "error" not in found:
            dist.barrier()
        dist.destroy_process_group()


def _slow_down(block: Any, seconds: float) -> None:
    forward = block.forward

    def slow(*args: Any) -> Any:
        if block.training:  # a validation would wait hundreds of times
            time.sleep(seconds)
        return forward(*args)

    block.forward = slow


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Train jobs one after another on processes that import torch only once."""
    context = multiprocessing.get_context("spawn")
    folder = tmp_path_factory.mktemp("crew")
    results = context.Queue()
    queues = [context.Queue() for _ in range(4)]
    workers = [context.Process(target=_work, args=(rank, str(folder), queue, results), daemon=True) for rank, queue in enumerate(queues)]
    for worker in workers:
        worker.start()

    def train(*jobs: Job) -> list[dict[str, Any]]:
        found = []
        for job in jobs:
            for queue in queues:
                queue.put(job)
            found.append(results.get(timeout=WAIT_LIMIT_S))
            assert "error" not in found[-1], found[-1]["error"]
        return found

    yield train
    for queue in queues:
        queue.put(None)
    for worker in workers:
        worker.join(20)
        worker.kill()


def _undo(folder: Path, *steps: int) -> None:
    """Undo the commits of these steps, as if the run had been killed before them."""
    for step in steps:
        for marker in folder.glob(f"checkpoints/{step}/commit-*.json"):
            marker.unlink()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("saving", ["sync", "async"])
def test_a_resumed_run_ends_in_the_same_bits(crew: Crew, tmp_path: Path, strategy: str, saving: str) -> None:
    config = replace(DROPS, strategy=strategy, saving=saving)
    (whole,) = crew((2, tmp_path.as_uri(), config, 1))
    _undo(tmp_path, 4, 6)
    (resumed,) = crew((2, tmp_path.as_uri(), config, 2))
    assert (whole["began"], resumed["began"]) == (0, 2)
    assert (resumed["loss"], resumed["val_loss"]) == (whole["loss"], whole["val_loss"])


def test_a_run_resumes_on_other_ranks_and_strategies(crew: Crew, tmp_path: Path) -> None:
    (whole,) = crew((2, (tmp_path / "whole").as_uri(), replace(BASE, strategy="ddp"), 1))
    there = tmp_path / "moved"
    moves = [(2, "ddp", 2), (4, "fsdp", 4), (1, "single", 6)]  # four ranks get 1, 2, 1 and 2 of 6 windows; all steps are in the warm-up
    results = crew(*[(n, there.as_uri(), replace(BASE, strategy=s, steps=upto), at) for at, (n, s, upto) in enumerate(moves, 1)])
    assert [result["began"] for result in results] == [0, 2, 4]
    for name in ("loss", "val_loss"):
        assert results[-1][name] == pytest.approx(whole[name], rel=1e-6)


def test_strategies_and_microbatches_give_the_same_loss(crew: Crew, tmp_path: Path) -> None:
    ways = {
        "ddp": replace(BASE, strategy="ddp"),
        "fsdp": replace(BASE, strategy="fsdp"),
        "ddp in parts": replace(BASE, strategy="ddp", micro=1),
        "fsdp in parts": replace(BASE, strategy="fsdp", micro=1),
        "hsdp": replace(BASE, strategy="hsdp"),
        "recomputed": replace(BASE, strategy="fsdp", recompute="block"),
        "recomputed in part": replace(BASE, strategy="fsdp", recompute="selective"),
    }
    found = dict(
        zip(
            ways, crew(*[(4 if name == "hsdp" else 2, (tmp_path / name).as_uri(), config, 1) for name, config in ways.items()]), strict=True
        )
    )
    assert found["fsdp"]["loss"] == found["ddp"]["loss"] == found["recomputed"]["loss"] == found["recomputed in part"]["loss"]
    for name in ("ddp in parts", "fsdp in parts", "hsdp"):
        assert found[name]["loss"] == pytest.approx(found["ddp"]["loss"], rel=1e-6)


@pytest.mark.parametrize(("strategy", "rank"), [("ddp", 1), ("fsdp", 0), ("hsdp", 3)])
def test_a_slow_rank_is_named_after_three_windows(crew: Crew, tmp_path: Path, strategy: str, rank: int) -> None:
    """Under FSDP2 the other ranks wait for it when they gather the weights of the next block, inside their forward passes."""
    config = replace(BASE, strategy=strategy, log_every=2, save_every_steps=0)
    (found,) = crew((4 if strategy == "hsdp" else 2, (tmp_path / f"slow-{rank}").as_uri(), config, 1))
    (results,) = [text for text in found["printed"] if text.startswith("straggler: ")]  # once, not in each later window
    assert results.startswith(f"straggler: rank {rank} on {socket.gethostname()} takes ")
    assert results.endswith(" x the median, in 3 windows in a row")
    lines = [json.loads(line) for line in (tmp_path / f"slow-{rank}/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["skew"] > 1.15] == [2, 4, 6]
