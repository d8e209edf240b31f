"""The module gpuyard_hook as a training script uses it, inside a job and outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.launch import hook


def test_the_hook_does_nothing_outside_gpuyard(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GPUYARD_STOP_FILE", "GPUYARD_REPORT_FILE"):
        monkeypatch.delenv(name, raising=False)
    hook.report(1, loss=2.0)
    assert (hook.stop_requested(), hook.stop_asked(), hook.last_report()) == (False, False, None)


def test_the_hook_reports_and_sees_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUYARD_STOP_FILE", str(tmp_path / "stop"))
    monkeypatch.setenv("GPUYARD_REPORT_FILE", str(tmp_path / "report"))
    monkeypatch.setenv("RANK", "1")
    hook.report(1)
    assert hook.last_report() is None  # only rank 0's report counts
    monkeypatch.setenv("RANK", "0")
    hook.report(4, loss=1.5, steps=10)
    hook.report(5, loss=float("nan"))
    assert hook.last_report() == (5, {"loss": None, "steps": 10})
    assert not hook.stop_requested()
    (tmp_path / "stop").touch()
    assert hook.stop_requested()
    with pytest.raises(SystemExit) as left:
        hook.leave_resumable()
    assert left.value.code == 75


def test_a_report_that_cannot_be_written_is_only_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUYARD_REPORT_FILE", str(tmp_path / "gone" / "report"))
    monkeypatch.setenv("RANK", "0")
    hook.report(1, phase="warmup")  # type: ignore[arg-type]
    assert "cannot report progress" in capsys.readouterr().err


class _TwoElements:
    def item(self) -> float:
        raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")


@pytest.mark.parametrize(
    ("step", "loss"), [("warmup", 1.0), (float("nan"), 1.0), (None, 1.0), (3, _TwoElements()), (3, 1 << 20_000)], ids=[*"abcde"]
)
def test_a_report_with_an_odd_value_is_only_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: Any, loss: Any
) -> None:
    monkeypatch.setenv("GPUYARD_REPORT_FILE", str(tmp_path / "report"))
    monkeypatch.setenv("RANK", "0")
    hook.report(step, loss=loss)
    assert "cannot report progress" in capsys.readouterr().err
    hook.report(4)  # a value that could not be written spoils no later report
    assert (tmp_path / "report").exists()
