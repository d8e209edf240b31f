"""Where metrics go besides metrics.jsonl: the services' TensorBoard folders, wandb and MLflow; none of them can end training."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpuyard.training_jobs.train.metrics import MetricsLog, Output
from gpuyard.training_jobs.train.sinks import RunLabels, open_sinks

LABELS = RunLabels("gpt-1", 2, {"lr": 0.1, "preset": "gpt_tiny"})


@pytest.mark.parametrize(
    ("setting", "variable", "value", "folder"),
    [
        ("auto", "", "", None),
        ("off", "AIP_TENSORBOARD_LOG_DIR", "gs://bucket/logs", None),
        ("on", "", "", "out/tensorboard"),
        ("auto", "AIP_TENSORBOARD_LOG_DIR", "gs://bucket/logs", "gs://bucket/logs"),
        ("auto", "SM_MODEL_DIR", "/opt/ml/model", "/opt/ml/output/tensorboard"),
        ("auto", "AZUREML_RUN_ID", "run", "./outputs/tensorboard"),
    ],
)
def test_tensorboard_files_go_where_the_service_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, variable: str, value: str, folder: str | None
) -> None:
    made: list[Any] = []

    class Writer:
        def __init__(self, where: str) -> None:
            self.where, self.scalars = where, dict[str, Any]()
            made.append(self)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.scalars[name] = value, step

        def flush(self) -> None: ...

    monkeypatch.setitem(sys.modules, "tensorboard", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", SimpleNamespace(SummaryWriter=Writer))
    for name in ("AIP_TENSORBOARD_LOG_DIR", "SM_MODEL_DIR", "AZUREML_RUN_ID"):
        monkeypatch.setenv(name, value) if name == variable else monkeypatch.delenv(name, raising=False)
    sinks, problems = open_sinks("", setting, "out/tensorboard", LABELS)
    written = MetricsLog(Output(tmp_path.as_uri(), True), 0, True, sinks)
    written.write(3, {"loss": 2.0, "mfu": None})
    written.flush(wait=True)
    assert ([board.where for board in made], problems) == ([] if folder is None else [folder], [])
    assert all(board.scalars == {"loss": (2.0, 3)} for board in made)


def test_wandb_and_mlflow_get_each_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def recorded(name: str) -> Any:
        return lambda *args, **more: calls.append((name, args, more))

    def init(**more: Any) -> Any:
        calls.append(("init", more["id"], more["resume"]))
        return SimpleNamespace(log=recorded("wandb"))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    mlflow = {"start_run": recorded("start"), "log_params": recorded("params"), "log_metrics": recorded("mlflow")}
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(**mlflow))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    sinks, problems = open_sinks("wandb,mlflow", "off", "", LABELS)
    assert (calls, problems) == (
        [("init", "gpt-1", "allow"), ("start", (), {"run_name": "gpt-1-2"}), ("params", ({"lr": "0.1", "preset": "gpt_tiny"},), {})],
        [],
    )
    calls.clear()
    written = MetricsLog(Output(tmp_path.as_uri(), True), 0, True, sinks)
    for step in (1, 2):
        written.write(step, {"loss": 2.0, "mfu": None})
        written.flush(wait=True)
    sent = [(name, step) for step in (1, 2) for name in ("wandb", "mlflow")]
    assert calls == [(name, ({"loss": 2.0},), {"step": step}) for name, step in sent]


def test_a_sink_that_fails_or_is_missing_is_named_and_training_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    run = SimpleNamespace(log=failing)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: run))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    sinks, problems = open_sinks("wandb,mlflow", "off", "", LABELS)
    fix = "sinks=mlflow needs a package that is not installed; fix: pip install mlflow"
    assert problems == [f"no metrics in mlflow: {fix}; metrics.jsonl has the same values"]
    written = MetricsLog(Output(tmp_path.as_uri(), True), 0, True, sinks)
    for step in (1, 2):
        written.write(step, {"loss": 2.0})
        written.flush(wait=True)
    assert capsys.readouterr().err == ("train: cannot send metrics to wandb: ConnectionError: no route; training continues without it\n")
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_tensorboard_reads_the_written_files(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="make venv installs tensorboard")
    sinks, problems = open_sinks("", "on", str(tmp_path / "tensorboard"), LABELS)
    written = MetricsLog(Output(tmp_path.as_uri(), True), 0, True, sinks)
    for step in (1, 2):
        written.write(step, {"loss": 2.0 / step, "mfu": None})
    written.flush(wait=True)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert ([(event.step, event.value) for event in events.Scalars("loss")], problems) == ([(1, 2.0), (2, 1.0)], [])
