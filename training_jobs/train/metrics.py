"""Where a run's figures go, and the account of its time: metrics.jsonl always, TensorBoard where a service has a place for it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import torch

from .checkpoint_store import put
from .optional import get
from .shards import filesystem

_WRITE_EVERY_S = 10.0
# Where services show TensorBoard's files from: a variable of Vertex AI, and folders of SageMaker and Azure ML.
_TENSORBOARD = (
    ("AIP_TENSORBOARD_LOG_DIR", "{AIP_TENSORBOARD_LOG_DIR}"),
    ("SM_MODEL_DIR", "/opt/ml/output/tensorboard"),
    ("AZUREML_RUN_ID", "./outputs/tensorboard"),
)


@dataclass
class Account:
    """The time of a run over all its attempts. It travels in the checkpoints."""

    began_at: float = 0.0  # by the clock, of the first attempt
    productive_s: float = 0.0  # in steps that count
    lost_steps: int = 0
    restarts: int = 0
    best_step: int | None = None
    best_loss: float | None = None

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Account:
        """From a checkpoint's notes."""
        return cls(**{field.name: notes[field.name] for field in fields(cls) if field.name in notes})

    def notes(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    def goodput(self) -> float | None:
        """Productive over all time since the first attempt began; a clock that jumped back gives null."""
        passed = time.time() - self.began_at
        return min(self.productive_s / passed, 1.0) if passed > 0 and self.began_at > 0 else None


class Output:
    """The files of a run's output folder, written by one rank."""

    def __init__(self, url: str, active: bool) -> None:
        self.url, self._active = url.rstrip("/"), active
        self._fs, self._root = filesystem(self.url)
        self._local = urlsplit(url).scheme == "file"
        self.place = self._root if self._local else self.url  # for those who write by themselves

    def leave(self, name: str, data: bytes | str | None) -> None:
        """Write a file; nothing when there is nothing to write. Raises OSError."""
        if self._active and data is not None:
            put(self._fs, f"{self._root}/{name}", data.encode() if isinstance(data, str) else data, self._local)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None when it is not there."""
        try:
            return self._fs.cat_file(f"{self._root}/{name}")  # type: ignore[no-any-return]
        except (FileNotFoundError, NotADirectoryError):
            return None


class Metrics:
    """The lines of metrics.jsonl; a resumed run goes on where its checkpoint was."""

    def __init__(self, output: Output, tensorboard: str, step: int, active: bool) -> None:
        self._output, self._active, self._written_at = output, active, time.monotonic()
        self.lines: list[dict[str, Any]] = []
        if active and step and (before := output.read("metrics.jsonl")):
            self.lines = [line for text in before.decode().splitlines() if (line := _line(text)) and line["step"] <= step]
        self.missing = ""  # why there is no TensorBoard though it was asked for
        self._board = self._open(tensorboard) if active else None

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line. The file is written every few seconds, whole: object stores cannot append."""
        if not self._active:
            return
        self.lines.append({"step": step, "at": round(time.time(), 3), **values})
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(name, value, step)
        if time.monotonic() - self._written_at > _WRITE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write all lines. Raises OSError."""
        self._output.leave("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines))
        self._written_at = time.monotonic()
        if self._board is not None:
            self._board.flush()

    def _open(self, asked: str) -> Any:
        named = next((path.format(**os.environ) for variable, path in _TENSORBOARD if os.environ.get(variable)), None)
        if asked == "off" or (asked == "auto" and named is None):
            return None
        if get("tensorboard") is None:
            self.missing = "no TensorBoard files: tensorboard is not installed. metrics.jsonl has all of it"
            return None
        from torch.utils.tensorboard.writer import SummaryWriter

        return SummaryWriter(named or f"{self._output.place}/tensorboard")


def memory(device: torch.device) -> dict[str, float]:
    """The device's peak since the last reading, in GiB, and how often the allocator had to try again."""
    if device.type != "cuda":
        return {}
    stats = torch.cuda.memory_stats(device)
    torch.cuda.reset_peak_memory_stats(device)
    return {"memory_gib": stats["allocated_bytes.all.peak"] / 2**30, "alloc_retries": stats["num_alloc_retries"]}


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:  # the last one may be torn
        return None
    return line if isinstance(line, dict) and "step" in line else None
