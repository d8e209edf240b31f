"""The loop on one rank in this process: what it does when storage fails, when it is superseded, and on another model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from training_jobs.train.checkpoint import Checkpoints
from training_jobs.train.config import Config, ConfigError, Surroundings
from training_jobs.train.loop import Trainer

CONFIG = Config(steps=6, batch=4, context=16, width=16, layers=1, corpus_bytes=50_000, val_bytes=4096, save_every_steps=2, dropout=0.1)


@pytest.fixture(autouse=True)
def _one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _trainer(folder: Path, attempt: int = 1, config: Config = CONFIG) -> Trainer:
    url = folder.as_uri()
    return Trainer(config, Surroundings(url, f"{url}/checkpoints", 600, 3, attempt, None))


def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole").train()
    for step in ("4", "6"):  # as if it had been killed before step 4 was committed
        (tmp_path / f"whole/checkpoints/{step}/commit-1.json").unlink()
    resumed = _trainer(tmp_path / "whole", attempt=2)
    assert resumed.step == 2
    assert resumed.train()["loss"] == whole["loss"]


def test_storage_that_fails_ends_the_job_with_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    trainer = _trainer(tmp_path)
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 74
    assert "cannot save step 2 below" in (said := capsys.readouterr().out)
    assert "Earlier checkpoints are intact" in said


def test_a_superseded_attempt_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = _trainer(tmp_path, attempt=1)
    Checkpoints(trainer.around.checkpoint_url, 2, 3).save(1, {"model/x": torch.zeros(1)}, {})
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 75
    assert "attempt 2 has saved step 1: this is attempt 1" in capsys.readouterr().out


def test_a_checkpoint_of_another_model_is_a_bad_configuration(tmp_path: Path) -> None:
    _trainer(tmp_path).train()
    with pytest.raises(ConfigError, match="the checkpoint of step 6 is of another model"):
        _trainer(tmp_path, attempt=2, config=Config(width=32, batch=4, corpus_bytes=50_000, val_bytes=4096))
