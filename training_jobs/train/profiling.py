"""Profiles training: slow ranks, garbage collection at fixed steps, memory snapshots, profiler traces."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .process_group import RankInfo

_SLOW, _SLOW_WINDOWS = 1.15, 3  # a straggler takes _SLOW times the median time in _SLOW_WINDOWS windows in a row
_COLLECT_EVERY = 50  # steps
_ALLOCATIONS = 100_000  # a memory snapshot has the newest allocations, at most this many
_Event: Any = torch.cuda.Event


class Stopwatch:
    """Sums the seconds of the blocks' forward passes on this rank, to find slow ranks.

    FSDP2 gathers a block's weights before it calls the block's `forward`. So the seconds contain no wait for other ranks.
    """

    def __init__(self, device: torch.device, model: nn.Module) -> None:
        self._device, self._host_s, self._active = device, 0.0, False
        self._events: list[tuple[Any, Any]] = []
        blocks: Any = model.blocks
        for block in blocks:
            block.forward = self._timed(block.forward)

    @contextlib.contextmanager
    def timing(self, active: bool) -> Iterator[None]:
        """Return a context in which the seconds of the blocks are measured, if `active`."""
        self._active = active
        yield
        self._active = False

    def _timed(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            if not self._active:
                return forward(*args)
            if self._device.type != "cuda":
                began = time.perf_counter()
                made = forward(*args)
                self._host_s += time.perf_counter() - began
                return made
            first, last = (_Event(enable_timing=True) for _ in range(2))
            first.record()
            made = forward(*args)
            last.record()
            self._events.append((first, last))
            return made

        return timed

    def read(self) -> float:
        """Return the seconds since the last call."""
        done = [(first, last) for first, last in self._events if last.query()]
        self._events = self._events[len(done) :]
        found = self._host_s + float(sum(first.elapsed_time(last) for first, last in done)) / 1000
        self._host_s = 0.0
        return found


class Stragglers:
    """Compares the ranks' times once per window, and finds stragglers: ranks that stay slow."""

    def __init__(self, ranks: RankInfo) -> None:
        self._ranks = ranks
        self._hosts: list[str] = [""] * ranks.world
        dist.all_gather_object(self._hosts, socket.gethostname())
        self._slow = [0] * ranks.world

    def compare(self, seconds: float) -> tuple[float | None, list[str]]:
        """Return the slowest rank's time divided by the median time, and the new stragglers. All ranks call this."""
        own = torch.zeros(self._ranks.world, dtype=torch.float64)
        own[self._ranks.rank] = seconds
        dist.all_reduce(own)
        median = float(own.median())
        if median <= 0:
            return None, []
        named = []
        for rank, spent in enumerate(own.tolist()):
            self._slow[rank] = self._slow[rank] + 1 if spent > _SLOW * median else 0
            if self._slow[rank] == _SLOW_WINDOWS:
                named.append(
                    f"rank {rank} on {self._hosts[rank]} takes {spent / median:.2f} x the median, in {_SLOW_WINDOWS} windows in a row"
                )
        return float(own.max()) / median, named


class GarbageCollector:
    """Runs Python's garbage collector at fixed steps on all ranks at once, not at random moments."""

    def __enter__(self) -> GarbageCollector:
        self._was_enabled = gc.isenabled()
        gc.disable()
        gc.collect(1)
        return self

    def step(self, step: int) -> None:
        """Collect garbage if it is due at this step. Call this after each step."""
        if step % _COLLECT_EVERY == 0:
            gc.collect(1)

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            gc.enable()


class MemorySnapshot:
    """Records the GPU's allocations and writes them to a file when its memory is full. It costs some microseconds per allocation."""

    def __init__(self, active: bool, write: Callable[[str, bytes], None], rank: int) -> None:
        self._active, self._write, self._rank = active, write, rank

    def __enter__(self) -> MemorySnapshot:
        if self._active:
            torch.cuda.memory._record_memory_history(max_entries=_ALLOCATIONS)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._active:
            return
        if kind is not None and issubclass(kind, torch.OutOfMemoryError):
            with tempfile.TemporaryDirectory() as folder:
                torch.cuda.memory._dump_snapshot(f"{folder}/snapshot.pickle")  # type: ignore[no-untyped-call]
                name = f"memory-{self._rank}.pickle"
                self._write(name, Path(folder, "snapshot.pickle").read_bytes())
            print(f"train: out of GPU memory; open {name} (all allocations) on pytorch.org/memory_viz", file=sys.stderr, flush=True)
        torch.cuda.memory._record_memory_history(enabled=None)


class StepProfiler:
    """Writes a profiler trace of the steps `first:last` for chrome://tracing or Perfetto."""

    def __init__(self, window: str, write: Callable[[str, bytes], None]) -> None:
        self._first, self._last = (int(part) for part in window.split(":")) if window else (-1, -1)
        self._write, self._running = write, None

    def step(self, step: int) -> None:
        """Start or end the trace if it is due at this step. Call this before each step."""
        if step == self._first:
            self._running = torch.profiler.profile()  # type: ignore[assignment]
            self._running.__enter__()  # type: ignore[attr-defined]
        elif step == self._last and self._running is not None:
            self._running.__exit__(None, None, None)
            with tempfile.TemporaryDirectory() as folder:
                self._running.export_chrome_trace(f"{folder}/trace.json")
                self._write(f"profile-{self._first}-{self._last}.json", Path(folder, "trace.json").read_bytes())
            self._running = None
