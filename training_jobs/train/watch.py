"""What goes on beside the steps: batches made ahead, votes without waiting, garbage, slow ranks, a stop's last seconds, a profile."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import math
import os
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..launch import hook
from .parallel import Place
from .tasks import Batch

_SLOW, _SLOW_WINDOWS = 1.15, 3  # a straggler needs this times the median, for so many windows in a row
_COLLECT_EVERY = 50
_MARGIN_S, _MARGIN_SHARE, _LOOK_EVERY_S = 7.0, 0.7, 0.25  # launch sends SIGTERM 5 s before the end, or when half of a short time is over
_Event: Any = torch.cuda.Event


class Feeder:
    """Makes the next batch while a step runs; counts the seconds that the loop had to wait for one."""

    def __init__(self, make: Callable[[int], Batch], device: torch.device) -> None:
        self._make, self._device = make, device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[int, Future[Batch]] | None = None
        self.waited_s = 0.0

    def get(self, step: int) -> list[Tensor]:
        """A step's batch on the device."""
        began = time.perf_counter()
        coming = self._next[1] if self._next and self._next[0] == step else self._pool.submit(self._prepare, step)
        batch = coming.result()
        self.waited_s += time.perf_counter() - began
        self._next = (step + 1, self._pool.submit(self._prepare, step + 1))
        return [tensor.to(self._device, non_blocking=True) for tensor in batch]

    def close(self) -> None:
        """Make no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, step: int) -> Batch:
        inputs, targets = self._make(step)
        return (inputs.pin_memory(), targets.pin_memory()) if self._device.type == "cuda" else (inputs, targets)


class Votes:
    """One small sum over the ranks per step; on a GPU it is read a step later, so that the host never waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pending: deque[tuple[Tensor, Any]] = deque()

    def cast(self, measured: list[Tensor], votes: list[bool]) -> None:
        """Put in this rank's values: what the device measured, then what the host votes. Neither waits for the other."""
        ours = torch.tensor(votes, dtype=torch.float64, pin_memory=self._device.type == "cuda").to(self._device, non_blocking=True)
        told = torch.cat([torch.stack(measured).double(), ours])
        dist.all_reduce(told)
        event = None
        if self._device.type == "cuda":
            told = told.to("cpu", non_blocking=True)
            event = _Event()
            event.record()
        self._pending.append((told, event))

    def hear(self, all_of_them: bool) -> list[list[float]]:
        """The sums that are due, the oldest first."""
        behind = 0 if all_of_them or self._device.type != "cuda" else 1
        heard = []
        while len(self._pending) > behind:
            told, event = self._pending.popleft()
            if event is not None:
                event.synchronize()
            heard.append(told.tolist())
        return heard


class Stopwatch:
    """Seconds of the forward passes: no other rank is waited for in them, so they show who is slow."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._host_s = device, 0.0
        self._events: list[tuple[Any, Any]] = []

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """Count what happens inside."""
        if self._device.type == "cuda":
            first, last = (_Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._events.append((first, last))
            return
        began = time.perf_counter()
        yield
        self._host_s += time.perf_counter() - began

    def read(self) -> float:
        """The seconds since the last reading."""
        done = [(first, last) for first, last in self._events if last.query()]
        self._events = self._events[len(done) :]
        found = self._host_s + float(sum(first.elapsed_time(last) for first, last in done)) / 1000
        self._host_s = 0.0
        return found


class Stragglers:
    """Compares the ranks' own seconds once per window and names those that stay slow."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._hosts: list[str] = [""] * place.world
        dist.all_gather_object(self._hosts, socket.gethostname())
        self._slow = [0] * place.world

    def compare(self, seconds: float) -> tuple[float | None, list[str]]:
        """The slowest over the median, and who has been slow for long; all ranks call it."""
        own = torch.zeros(self._place.world, dtype=torch.float64)
        own[self._place.rank] = seconds
        dist.all_reduce(own)
        median = float(own.median())
        if median <= 0:
            return None, []
        named = []
        for rank, spent in enumerate(own.tolist()):
            self._slow[rank] = self._slow[rank] + 1 if spent > _SLOW * median else 0
            if self._slow[rank] == _SLOW_WINDOWS:
                named.append(
                    f"rank {rank} on {self._hosts[rank]} takes {spent / median:.2f} x the median, {_SLOW_WINDOWS} windows in a row"
                )
        return float(own.max()) / median, named


class Garbage:
    """Collects at steps of its own choosing, on all ranks at once, instead of whenever Python feels like it."""

    def __enter__(self) -> Garbage:
        self._was = gc.isenabled()
        gc.disable()
        gc.collect(1)
        return self

    def step(self, step: int) -> None:
        """After each step."""
        if step % _COLLECT_EVERY == 0:
            gc.collect(1)

    def __exit__(self, *_: object) -> None:
        if self._was:
            gc.enable()


class Grace:
    """Ends this process as resumable before launch has to, when a stop was asked and the loop does not leave: a collective may hang."""

    def __init__(self, leave: Callable[[int], None] = os._exit) -> None:
        self._leave, self._ended = leave, threading.Event()

    def __enter__(self) -> Grace:
        threading.Thread(target=self._watch, name="grace", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        over_at = math.inf
        while not self._ended.wait(_LOOK_EVERY_S):
            left_s = hook.seconds_left()
            if left_s is None:
                continue
            if time.monotonic() + left_s < over_at - 1.0:  # the first word, or one that leaves less time
                over_at = time.monotonic() + left_s
                margin_s = min(_MARGIN_S, left_s * _MARGIN_SHARE)
            if left_s < margin_s:
                print(f"train: asked to stop, {left_s:.1f} s left, and the step does not end: leaving without a save", file=sys.stderr)
                faulthandler.dump_traceback()  # where it hangs
                self._leave(hook.RESUMABLE)
                return


class Profile:
    """Writes a trace of the steps `first:last`, for chrome://tracing or Perfetto."""

    def __init__(self, window: str, leave: Callable[[str, bytes], None]) -> None:
        self._first, self._last = (int(part) for part in window.split(":")) if window else (-1, -1)
        self._leave, self._running = leave, None

    def step(self, step: int) -> None:
        """Before each step."""
        if step == self._first:
            self._running = torch.profiler.profile()  # type: ignore[assignment]
            self._running.__enter__()  # type: ignore[attr-defined]
        elif step == self._last and self._running is not None:
            self._running.__exit__(None, None, None)
            with tempfile.TemporaryDirectory() as folder:
                self._running.export_chrome_trace(f"{folder}/trace.json")
                self._leave(f"profile-{self._first}-{self._last}.json", Path(folder, "trace.json").read_bytes())
            self._running = None
