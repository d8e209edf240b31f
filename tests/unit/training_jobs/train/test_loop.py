"""The training loop on one rank in this process: failed storage, superseded attempts, resume, deadlines and metrics."""

from __future__ import annotations

import errno
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from gpuyard.training_jobs.launch import hook
from gpuyard.training_jobs.train import checkpoint_store as storage
from gpuyard.training_jobs.train.checkpoint import CheckpointSaver
from gpuyard.training_jobs.train.checkpoint_store import CheckpointStore
from gpuyard.training_jobs.train.config import Config, ConfigError, RunEnvironment
from gpuyard.training_jobs.train.data import TokenWindows
from gpuyard.training_jobs.train.loop import NotFiniteError, Trainer
from gpuyard.training_jobs.train.metrics import MetricsLog, Output
from gpuyard.training_jobs.train.process_group import shorten_timeouts
from gpuyard.training_jobs.train.votes import StopDeadline

CONFIG = Config(steps=6, batch=4, context=16, width=16, layers=1, corpus_bytes=50_000, val_bytes=4096, save_every_steps=2, dropout=0.1)


@pytest.fixture(autouse=True)
def _one_rank() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _trainer(folder: Path, attempt: int = 1, config: Config = CONFIG) -> Trainer:
    url = folder.as_uri()
    return Trainer(config, RunEnvironment(url, f"{url}/checkpoints", 600, 3, attempt, None))


def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole").train()
    for step in ("4", "6"):  # as if killed before step 4 was committed
        (tmp_path / f"whole/checkpoints/{step}/commit-1.json").unlink()
    resumed = _trainer(tmp_path / "whole", attempt=2)
    assert resumed.step == 2
    assert resumed.train()["loss"] == whole["loss"]


def test_failed_storage_exits_with_74_and_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    trainer = _trainer(tmp_path)
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 74
    assert "cannot save step 2 below" in (output := capsys.readouterr().out)
    assert "earlier checkpoints are intact" in output


def test_a_superseded_attempt_exits_resumable(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gpuyard.training_jobs.launch.hook._EXIT_WATCHDOG_S", 86_400
    )  # it ends a process that does not leave: here pytest's
    trainer = _trainer(tmp_path, attempt=1)
    CheckpointSaver(CheckpointStore(trainer.environment.checkpoint_url, 2, 3), False).save(1, {"model/x": torch.zeros(1)}, {})
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 75
    assert "attempt 2 has saved step 1, so this older attempt 1" in capsys.readouterr().out


def test_a_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    _trainer(tmp_path).train()
    with pytest.raises(ConfigError, match="the checkpoint of step 6 has another config: width: 16 in the checkpoint, 32 now"):
        _trainer(tmp_path, attempt=2, config=replace(CONFIG, width=32))
    assert _trainer(tmp_path, attempt=2, config=replace(CONFIG, steps=8)).step == 6


def test_when_all_checkpoints_are_damaged_training_starts_from_step_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = _trainer(tmp_path).train()
    for state in tmp_path.glob("checkpoints/*/state-*"):
        state.write_bytes(state.read_bytes()[:-1] + b"?")
    again = _trainer(tmp_path, attempt=2)
    assert again.step == 0
    assert again.train()["loss"] == whole["loss"]
    assert "checkpoint of step 2 (attempt 1) is damaged, using the previous checkpoint" in capsys.readouterr().out


def test_microbatches_give_the_loss_of_the_whole_batch(tmp_path: Path) -> None:
    plain = replace(CONFIG, dropout=0.0)
    one, two = (_trainer(tmp_path / str(micro), config=replace(plain, micro=micro)).train()["loss"] for micro in (0, 1))
    assert two == pytest.approx(one, rel=1e-6)


def test_gradients_that_are_not_finite_stop_the_run(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    with torch.no_grad():
        trainer.state.model.get_parameter("embedding.weight")[:] = math.nan
    before = trainer.state.model.get_parameter("norm.weight").clone()
    with pytest.raises(NotFiniteError, match="step 1: the gradients are not finite"):
        trainer.train()
    assert torch.equal(trainer.state.model.get_parameter("norm.weight"), before)


@pytest.mark.parametrize("jump_s", [-7200, 7200])
def test_setting_the_clock_changes_only_the_goodput(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    whole = _trainer(tmp_path / "whole").train()
    trainer, clock = _trainer(tmp_path / "set", config=replace(CONFIG, log_every=1)), time.time
    monkeypatch.setattr("time.time", lambda: clock() + jump_s * (trainer.step >= 3))
    assert trainer.train()["loss"] == whole["loss"]
    lines = [json.loads(line) for line in (tmp_path / "set/metrics.jsonl").read_text().splitlines()]
    assert [line["goodput"] is not None for line in lines] == [True, True, *[jump_s > 0] * 4]
    assert all(line["goodput"] is None or 0 < line["goodput"] <= 1 for line in lines)
    assert sorted(path.name for path in (tmp_path / "set/checkpoints").iterdir()) == ["2", "4", "6"]


@pytest.mark.parametrize("saving", ["sync", "async"])
def test_the_duration_of_a_save_is_reported_to_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saving: str) -> None:
    monkeypatch.setenv("GPUYARD_REPORT_FILE", str(tmp_path / "report"))
    monkeypatch.setattr(hook, "_metrics", {})
    put = storage.put

    def slow(*args: Any) -> None:
        time.sleep(0.1)  # twice: for the file and for its marker
        put(*args)

    monkeypatch.setattr(storage, "put", slow)
    _trainer(tmp_path, config=replace(CONFIG, saving=saving)).train()
    report = hook.last_report()
    assert report is not None
    assert 0.2 <= report[1]["save_s"] < 5


def test_a_hanging_rank_exits_shortly_before_the_deadline(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    moments: Iterator[tuple[float, float | None]] = iter([(0, None), (1, 100), (2, 99), (3, 9), (4.5, 7.5), (5.8, 6.2)])
    clock, codes = [0.0], list[int]()

    def seconds_left() -> float | None:  # a notice of 100 s is followed by one of 9 s
        clock[0], left_s = next(moments)
        return left_s

    monkeypatch.setattr(hook, "seconds_left", seconds_left)
    monkeypatch.setattr("gpuyard.training_jobs.train.votes.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("gpuyard.training_jobs.train.votes._POLL_EVERY_S", 0.0)
    stop_deadline = StopDeadline(codes.append)
    stop_deadline._watch()
    assert codes == [75]
    assert next(moments, None) is None
    assert "6.2 s left, but the step does not end" in (output := capfd.readouterr().err)
    assert "in test_a_hanging_rank" in output  # a traceback of every thread


def test_metrics_continue_after_the_checkpoints_step(tmp_path: Path) -> None:
    config = replace(CONFIG, log_every=1, eval_every=2, profile="1:3")
    _trainer(tmp_path, config=config).train()
    (tmp_path / "checkpoints/6/commit-1.json").unlink()
    resumed = _trainer(tmp_path, attempt=2, config=config)
    resumed.train()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "val_loss" in line] == [2, 4]
    assert lines[0]["mfu"] is None
    assert 0 < lines[-1]["goodput"] <= 1
    assert [line for line in lines if "restart" in line] == [{"step": 4, "at": ANY, "restart": 1}]
    assert resumed.state.account.restarts == 1
    assert json.loads((tmp_path / "profile-1-3.json").read_text())["traceEvents"]


def test_validation_is_bounded_and_reads_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    part = TokenWindows.part

    def recorded(self: TokenWindows, first: int, last: int) -> Any:
        read.append(last - first)
        return part(self, first, last)

    monkeypatch.setattr(TokenWindows, "part", recorded)
    trainer = _trainer(tmp_path, config=replace(CONFIG, eval_tokens=10 * CONFIG.context))
    assert trainer.validate()["val_loss"] == pytest.approx(math.log(256), rel=0.05)
    assert read == [4, 4, 2]
    assert Config().eval_tokens > Config().val_bytes  # the small presets validate all they have


def test_a_stop_during_a_validation_exits_at_the_next_part_with_its_step_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.training_jobs.launch.hook._EXIT_WATCHDOG_S", 86_400)
    config = replace(CONFIG, eval_every=3, save_every_steps=0)
    whole = _trainer(tmp_path / "whole", config=config).train()
    trainer, parts = _trainer(tmp_path / "stopped", config=config), list[int]()
    part = TokenWindows.part

    def recorded(self: TokenWindows, first: int, last: int) -> Any:
        parts.append(first)
        return part(self, first, last)

    monkeypatch.setattr(TokenWindows, "part", recorded)
    monkeypatch.setattr(hook, "stop_asked", lambda: len(parts) >= 2)
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert (ended.value.code, trainer.step, len(parts)) == (75, 3, 2)
    monkeypatch.setattr(hook, "stop_asked", lambda: False)
    resumed = _trainer(tmp_path / "stopped", attempt=2, config=config)
    assert resumed.step == 3
    assert resumed.train()["loss"] == whole["loss"]
    lines = [json.loads(line) for line in (tmp_path / "stopped/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_loss" in line] == [3]
    assert resumed.state.account.best_step == 3


def test_metrics_that_cannot_be_written_do_not_end_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Output, name: str, *_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for method in ("write", "append"):
        monkeypatch.setattr(Output, method, full)
    assert _trainer(tmp_path).train()["loss"] > 0
    assert capsys.readouterr().err.count("cannot write metrics.jsonl below") == 1  # for 3 saves
    assert (tmp_path / "checkpoints/6/commit-1.json").exists()


def test_slow_storage_for_metrics_does_not_stall_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, released = list[str](), threading.Event()
    write = Output.write

    def slow(self: Output, name: str, data: Any) -> None:
        names.append(threading.current_thread().name)
        assert released.wait(60)
        write(self, name, data)

    monkeypatch.setattr(Output, "write", slow)
    monkeypatch.setattr("gpuyard.training_jobs.train.metrics._PATIENCE_S", 0.05)
    _trainer(tmp_path).train()
    assert [name.startswith("metrics") for name in names] == [True]  # one write waits in its thread, the loop does not
    released.set()


def test_the_lines_of_metrics_are_appended_to_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(tmp_path.as_uri(), True)
    metrics, appended = MetricsLog(output, 0, True), list[str]()
    for step in (1, 2, 3):
        metrics.write(step, {"loss": 1.0})
        metrics.flush(wait=True)
    append = Output.append

    def recorded(self: Output, name: str, text: str) -> None:
        appended.append(text)
        append(self, name, text)

    monkeypatch.setattr(Output, "append", recorded)
    metrics.write(4, {"loss": 1.0})
    metrics.flush(wait=True)
    assert json.loads(appended[0])["step"] == 4
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_the_timeout_is_shortened_after_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shorten_timeouts([]) == "the collectives' timeout is now 100 s"
    timeouts: list[Any] = []
    monkeypatch.setattr(dist.distributed_c10d, "set_timeout", lambda *arguments: timeouts.append(arguments), raising=False)
    assert shorten_timeouts([]) == "the collectives' timeout is now 100 s"  # with torch's newer function, where it exists
    assert [arguments[0].total_seconds() for arguments in timeouts] == [100]
    for name in ("set_timeout", "_set_pg_timeout"):
        monkeypatch.setattr(dist.distributed_c10d, name, None, raising=False)
    assert shorten_timeouts([]) == "this torch cannot change the collectives' timeout, which stays 300 s"


def test_a_save_longer_than_every_does_not_block_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    released, put = threading.Event(), storage.put

    def slow(*args: Any) -> None:
        assert released.wait(60)
        put(*args)

    monkeypatch.setattr(storage, "put", slow)
    config = replace(CONFIG, saving="async", save_every_steps=0)
    url = tmp_path.as_uri()
    trainer = Trainer(config, RunEnvironment(url, f"{url}/checkpoints", 0.0, 3, 1, None))
    monkeypatch.setattr(hook, "report", lambda step, **_: released.set() if step == 5 else None)
    assert trainer.train()["saves"] == 2  # of the first and the last step; before, the second save waited for the first
    assert "the save of step 1 takes longer than checkpoint.every (0 s)" in capsys.readouterr().out
