"""The preflight's time limit, which grows with the GPUs of a node and the number of nodes."""

from __future__ import annotations

import os
import sys
import threading

from ..node_exit import IO_ERROR

__all__ = ["GPUS_RESERVE_S", "Watchdog", "limit_s"]

_LIMIT_S, _PER_GPU_S, _PER_NODE_S = 60.0, 5.0, 1.0
"""The time limit of the preflight. Each GPU has a process that imports torch from a cold disk, and NCCL connects all nodes."""
GPUS_RESERVE_S = 10.0  # the part of the limit for the steps after the GPUs' checks


def limit_s(nodes: int, gpus: int) -> float:
    """Return the seconds that the preflight may take. `gpus`: per node."""
    return _LIMIT_S + _PER_GPU_S * gpus + _PER_NODE_S * nodes


class Watchdog:
    """A time limit for the whole preflight: when a step hangs, this process exits with 74 and names the step."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._step = seconds, "devices"
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def enter(self, step: str) -> None:
        """Name the step that begins."""
        self._step = step

    def stop(self) -> None:
        """End the time limit."""
        self._timer.cancel()

    def _expire(self) -> None:
        print(f"gpuyard: preflight failed: timed out after {self._seconds:.0f} s in: {self._step}", file=sys.stderr, flush=True)
        os._exit(IO_ERROR)  # its child processes die with it; a slow machine is no proof of a slow network
