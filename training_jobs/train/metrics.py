"""Writes a run's metrics to metrics.jsonl and the sinks, and sums up its time over all attempts."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import torch

from .checkpoint_store import put
from .shards import open_filesystem
from .sinks import SafeSink
from .tasks import Figures
from .tensor_file import Pieces

_WRITE_EVERY_S = 10.0
_PATIENCE_S = 10.0  # longest wait for the writing thread at the end of an attempt


@dataclass
class TimeAccount:
    """The time and progress of a run over all its attempts, saved with each checkpoint."""

    began_at: float = 0.0  # Unix time of the first attempt
    productive_s: float = 0.0  # seconds in steps that were not repeated
    lost_steps: int = 0
    restarts: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    last_loss: float | None = None  # loss of the saved step

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> TimeAccount:
        """Read the account from a checkpoint's notes."""
        return cls(**{field.name: notes[field.name] for field in fields(cls) if field.name in notes})

    def to_notes(self) -> dict[str, float | int | None]:
        """Return the account as a checkpoint's notes."""
        return asdict(self)

    def goodput(self) -> float | None:
        """Return the productive share of the time since the first attempt began; None if the clock was set back."""
        passed = time.time() - self.began_at
        return min(self.productive_s / passed, 1.0) if passed > 0 and self.began_at > 0 else None


class Output:
    """The files of a run's output folder, written by one rank."""

    def __init__(self, url: str, active: bool) -> None:
        self.url, self._active = url.rstrip("/"), active
        self._fs, self._root = open_filesystem(self.url)
        self._local = urlsplit(url).scheme == "file"
        self.can_append = self._local
        self.path = self._root if self._local else self.url  # for libraries that write files themselves

    def write(self, name: str, data: bytes | str | Pieces | None) -> None:
        """Write a file. Do nothing if `data` is None, or if this rank does not write. Raises OSError."""
        if self._active and data is not None:
            pieces = data if isinstance(data, list) else [data.encode() if isinstance(data, str) else data]
            put(self._fs, f"{self._root}/{name}", pieces, self._local)

    def append(self, name: str, text: str) -> None:
        """Append to a file on disk. Raises OSError."""
        with open(f"{self._root}/{name}", "a", encoding="utf-8") as file:
            file.write(text)

    def read(self, name: str) -> bytes | None:
        """Read a file; None if it does not exist."""
        try:
            return self._fs.cat_file(f"{self._root}/{name}")  # type: ignore[no-any-return]
        except (FileNotFoundError, NotADirectoryError):
            return None


class MetricsLog:
    """The lines of metrics.jsonl. A resumed run continues after its checkpoint's step, and validates this step again."""

    def __init__(self, output: Output, step: int, active: bool, sinks: Sequence[SafeSink] = ()) -> None:
        self._output, self._active, self._written_at = output, active, time.monotonic()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._writing: Future[None] | None = None
        self._written, self._warned = 0, False  # number of lines in the file; whether a storage error was reported
        self.lines: list[Figures] = []
        if active and step and (before := output.read("metrics.jsonl")):
            self.lines = [
                line for text in before.decode().splitlines() if (line := _line(text)) and (line["step"], "val_loss" in line) < (step, True)
            ]
        self._sinks, self._sent = sinks, len(self.lines)  # a resumed run has sent its earlier lines

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line. The file gets new lines every few seconds."""
        if not self._active:
            return
        self.lines.append({"step": step, "at": round(time.time(), 3), **values})
        if time.monotonic() - self._written_at > _WRITE_EVERY_S:
            self.flush()

    def flush(self, wait: bool = False) -> None:
        """Write the new lines in a thread. `wait`: wait up to 10 s for the thread. A storage error is reported once."""
        if not self._active:
            return
        self._written_at = time.monotonic()
        if self._writing is None or self._writing.done():
            self._writing = self._pool.submit(self._write)
        if wait:
            with contextlib.suppress(TimeoutError):
                self._writing.result(_PATIENCE_S)
                self._writing = self._pool.submit(self._write)  # lines that were added while the thread wrote
                self._writing.result(_PATIENCE_S)

    def _write(self) -> None:
        """Append the new lines to a local file. Object stores cannot append, so the whole file is written there."""
        lines, written = list(self.lines), self._written
        unsent, self._sent = lines[self._sent :], len(lines)
        text = ["".join(json.dumps(line) + "\n" for line in part) for part in (lines[:written], lines[written:])]
        try:
            if written and self._output.can_append:
                self._output.append("metrics.jsonl", text[1])
            else:
                self._output.write("metrics.jsonl", "".join(text))
            self._written = len(lines)
        except OSError as error:
            self._written = 0  # the end of the file is unknown: write all of it next time
            if not self._warned:
                print(
                    f"train: cannot write metrics.jsonl below {self._output.url}: {error}; training continues", file=sys.stderr, flush=True
                )
            self._warned = True
        for sink in self._sinks:
            sink.send(unsent)


def memory_stats(device: torch.device) -> dict[str, float]:
    """Return the device's peak memory in GiB since the last call, and how often the allocator retried."""
    if device.type != "cuda":
        return {}
    stats = torch.cuda.memory_stats(device)
    torch.cuda.reset_peak_memory_stats(device)
    return {"memory_gib": stats["allocated_bytes.all.peak"] / 2**30, "alloc_retries": stats["num_alloc_retries"]}


def _line(text: str) -> Figures | None:
    try:
        line = json.loads(text)
    except ValueError:  # the last line may be incomplete
        return None
    return line if isinstance(line, dict) and "step" in line else None
