"""The preflight's time limit, which grows with the GPUs of a node and the number of nodes."""

from __future__ import annotations

import os
import sys
import threading

from ..node_exit import IO_ERROR

__all__ = ["GPUS_RESERVE_S", "Watchdog", "limit_s"]

_LIMIT_S, _PER_GPU_S, _PER_NODE_S = 60.0, 5.0, 1.0
"""Parts of the preflight's time limit. Each GPU's process imports torch from a cold disk, and NCCL connects all nodes."""
GPUS_RESERVE_S = 10.0  # the part of the limit for the steps after the GPUs' checks


def limit_s(nodes: int, gpus: int) -> float:
    """Return the seconds that the preflight may take. `gpus`: per node."""
    return _LIMIT_S + _PER_GPU_S * gpus + _PER_NODE_S * nodes


class Watchdog:
    """A time limit for the whole preflight. If a step hangs, this process prints the step and exits with 74."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._step = seconds, "devices"
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def enter(self, step: str) -> None:
        """Set the name of the current step."""
        self._step = step

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _expire(self) -> None:
        print(f"gpuyard: preflight failed: timed out after {self._seconds:.0f} s in: {self._step}", file=sys.stderr, flush=True)
        os._exit(IO_ERROR)  # kills the child processes too. 74 and not 69: a slow machine does not prove a slow network
