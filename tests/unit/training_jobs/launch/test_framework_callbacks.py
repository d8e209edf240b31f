"""The callbacks for frameworks, with stand-ins for the frameworks and the hook. `make frameworks` runs the real ones."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpuyard.training_jobs.launch import framework_callbacks, hook


class _Hook:
    """Records what a callback does; a stop is requested at one step."""

    def __init__(self, folder: Path, stop_at: int) -> None:
        self.folder, self.stop_at, self.calls = folder, stop_at, list[Any]()

    def report(self, step: int, **metrics: Any) -> None:
        self.calls.append(("report", step, metrics))

    def stop_requested(self) -> bool:
        return bool(self.stop_at == sum(call[0] == "report" for call in self.calls))

    def save_checkpoints(self, leave: bool) -> None:
        self.calls.append(("save", leave, sorted(path.name for path in self.folder.iterdir())))

    def checkpoints(self) -> Path:
        return self.folder

    def newest_checkpoint(self, pattern: str) -> str | None:
        return next((str(path) for path in self.folder.glob(pattern)), None)


def test_the_trainer_saves_and_exits_at_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(TrainerCallback=object))
    recorded = _Hook(tmp_path, stop_at=1)
    callback = framework_callbacks.trainer_callback(recorded)
    state, control = SimpleNamespace(global_step=3, max_steps=9), SimpleNamespace(should_save=False, should_training_stop=False)
    callback.on_save(None, state, control)
    callback.on_log(None, state, control, {"loss": 1.5, "note": "text"})
    callback.on_step_end(None, state, control)
    assert (control.should_save, control.should_training_stop) == (True, True)
    callback.on_save(None, state, control)
    assert recorded.calls == [("save", False, []), ("report", 3, {"steps": 9, "loss": 1.5}), ("save", True, [])]


def test_lightning_saves_every_few_steps_and_exits_at_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", SimpleNamespace(Callback=object))
    recorded = _Hook(tmp_path, stop_at=3)
    callback = framework_callbacks.lightning_callback(recorded, every=2)
    trainer = SimpleNamespace(global_step=0, max_steps=9, callback_metrics={}, is_global_zero=True, save_checkpoint=Path.touch)
    for step in (1, 1, 2, 3):  # the first step has two parts
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None, None, None, 0)
    saves = [call for call in recorded.calls if call[0] == "save"]
    assert saves == [("save", False, ["step-2.ckpt"]), ("save", True, ["step-3.ckpt"])]


def test_an_accelerate_run_continues_from_its_newest_state(tmp_path: Path) -> None:
    loaded, recorded = list[str](), _Hook(tmp_path, stop_at=3)
    accelerator = SimpleNamespace(
        load_state=loaded.append, save_state=lambda path: Path(path).mkdir(), wait_for_everyone=lambda: None, is_local_main_process=True
    )
    (tmp_path / "step-4").mkdir()
    run = framework_callbacks.AccelerateRun(recorded, accelerator, every=2)
    for _ in range(3):
        run.step_done(loss=1.0)
    assert (loaded, run.step) == ([str(tmp_path / "step-4")], 7)
    assert [call for call in recorded.calls if call[0] == "save"] == [("save", False, ["step-6"]), ("save", True, ["step-7"])]


def test_the_newest_checkpoint_has_the_largest_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUYARD_CHECKPOINT_URL", raising=False)
    assert hook.newest_checkpoint("checkpoint-*") is None
    for name in ("checkpoint-9", "checkpoint-100", "runs"):
        (tmp_path / "checkpoints" / name).mkdir()
    assert hook.newest_checkpoint("checkpoint-*") == "checkpoints/checkpoint-100"
