"""Sends metrics to TensorBoard files, wandb and MLflow (optional packages). A thread on rank 0 sends them.

To add a sink, write a function that returns a Sink and list it in SINKS. API keys come from the job's `secrets:` as variables, such as
WANDB_API_KEY.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .optional import require_optional

# Folders in which services read TensorBoard files: Vertex AI sets a variable, SageMaker and Azure ML have fixed folders.
_TENSORBOARD = (
    ("AIP_TENSORBOARD_LOG_DIR", "{AIP_TENSORBOARD_LOG_DIR}"),
    ("SM_MODEL_DIR", "/opt/ml/output/tensorboard"),
    ("AZUREML_RUN_ID", "./outputs/tensorboard"),
)


@dataclass(frozen=True)
class RunLabels:
    """The run's id, attempt and configuration, for the pages of wandb and MLflow."""

    run_id: str | None
    attempt: int
    config: Mapping[str, Any]


class Sink(Protocol):
    """Receives the numbers of each line of metrics.jsonl. It may be slow or fail: training continues."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of one line of metrics.jsonl."""

    def flush(self) -> None:
        """Send the buffered numbers."""


class SafeSink:
    """Sends lines to a sink until the sink fails. Prints the failure once."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name, self._sink = name, sink
        self._failed = False

    def send(self, lines: list[dict[str, Any]]) -> None:
        """Send the numbers of these lines."""
        if self._failed or not lines:
            return
        try:
            for line in lines:
                numbers = {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
                self._sink.write(line["step"], {name: value for name, value in numbers.items() if name not in ("step", "at")})
            self._sink.flush()
        except Exception as error:  # each service's client has its own classes
            self._failed = True
            text = f"train: cannot send metrics to {self._name}: {type(error).__name__}: {error}; training continues without it"
            print(text, file=sys.stderr, flush=True)


class _TensorBoard:
    def __init__(self, folder: str) -> None:
        require_optional("tensorboard", "TensorBoard")
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(folder)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()


class _Wandb:
    def __init__(self, labels: RunLabels) -> None:
        module = require_optional("wandb", "sinks=wandb")
        project = os.environ.get("WANDB_PROJECT", "gpuyard")
        self._run = module.init(project=project, id=labels.run_id, name=labels.run_id, resume="allow", config=dict(labels.config))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """Do nothing: wandb's own process sends the numbers."""


class _Mlflow:
    """Writes to MLFLOW_TRACKING_URI. On Azure ML it writes to the job's own run (MLFLOW_RUN_ID); elsewhere each attempt is a run."""

    def __init__(self, labels: RunLabels) -> None:
        self._module = require_optional("mlflow", "sinks=mlflow")
        name = None if os.environ.get("MLFLOW_RUN_ID") else f"{labels.run_id or 'train'}-{labels.attempt}"
        self._module.start_run(run_name=name)
        self._module.log_params({name: str(value)[:500] for name, value in labels.config.items()})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._module.log_metrics(dict(values), step=step)

    def flush(self) -> None:
        """Do nothing: each call is sent at once."""


SINKS: dict[str, Callable[[RunLabels], Sink]] = {"wandb": _Wandb, "mlflow": _Mlflow}


def open_sinks(names: str, tensorboard: str, folder: str, labels: RunLabels) -> tuple[list[SafeSink], list[str]]:
    """Open the sinks of the config. Returns them, and a message for each sink that cannot be opened. Training continues without it."""
    folder = next((path.format(**os.environ) for variable, path in _TENSORBOARD if os.environ.get(variable)), folder)
    found, problems = [], []
    for name in [*filter(None, names.split(",")), *(["tensorboard"] if _is_wanted(tensorboard) else [])]:
        try:
            found.append(SafeSink(name, _TensorBoard(folder) if name == "tensorboard" else SINKS[name](labels)))
        except Exception as error:  # each service's client has its own classes
            problems.append(f"no metrics in {name}: {error}; metrics.jsonl has the same values")
    return found, problems


def _is_wanted(tensorboard: str) -> bool:
    return tensorboard == "on" or (tensorboard == "auto" and any(os.environ.get(variable) for variable, _ in _TENSORBOARD))
