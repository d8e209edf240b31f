"""Lets the ranks vote in one small all-reduce per step, and exits before the stop deadline if a collective hangs."""

from __future__ import annotations

import faulthandler
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..launch import hook

_MARGIN_S, _MARGIN_SHARE = 7.0, 0.7
"""Seconds before the deadline at which to exit, and the fraction of a short notice after which to exit. Both are before launch's SIGTERM.

"""
_POLL_EVERY_S = 0.25
_Event: Any = torch.cuda.Event


class Votes:
    """Sums small values over the ranks once per step. On a GPU a sum is read one step later, so that the host never waits."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pending: deque[tuple[Tensor, Any]] = deque()

    def cast(self, measured: list[Tensor], votes: list[bool]) -> None:
        """Start the all-reduce of this rank's values: device tensors first, then the host's votes. The host does not wait."""
        own_votes = torch.tensor(votes, dtype=torch.float64, pin_memory=self._device.type == "cuda").to(self._device, non_blocking=True)
        values = torch.cat([torch.stack(measured).double(), own_votes])
        dist.all_reduce(values)
        event = None
        if self._device.type == "cuda":
            values = values.to("cpu", non_blocking=True)
            event = _Event()
            event.record()
        self._pending.append((values, event))

    def read(self, all_pending: bool) -> list[list[float]]:
        """Return the sums that are due, the oldest first. `all_pending`: include the sum of the current step."""
        keep = 0 if all_pending or self._device.type != "cuda" else 1
        sums = []
        while len(self._pending) > keep:
            values, event = self._pending.popleft()
            if event is not None:
                event.synchronize()
            sums.append(values.tolist())
        return sums


class StopDeadline:
    """Exits with 75 (resumable) shortly before the stop deadline if the loop hangs in a collective."""

    def __init__(self, exit_process: Callable[[int], None] = os._exit) -> None:
        self._exit_process, self._closed = exit_process, threading.Event()

    def __enter__(self) -> StopDeadline:
        threading.Thread(target=self._watch, name="stop-deadline", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def _watch(self) -> None:
        deadline = math.inf
        while not self._closed.wait(_POLL_EVERY_S):
            left_s = hook.seconds_left()
            if left_s is None:
                continue
            if time.monotonic() + left_s < deadline - 1.0:  # a new stop request, or one that leaves less time
                deadline = time.monotonic() + left_s
                margin_s = min(_MARGIN_S, left_s * _MARGIN_SHARE)
            if left_s < margin_s:
                text = f"train: stop requested, {left_s:.1f} s left, but the step does not end; exiting without a new checkpoint"
                print(text, file=sys.stderr)
                faulthandler.dump_traceback()  # shows where each thread hangs
                self._exit_process(hook.RESUMABLE)
                return
