"""Prepares the next batch in a thread while a step runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from .tasks import Batch


class BatchPrefetcher:
    """Prepares one batch ahead. `waited_s`: the seconds that the loop has waited for batches."""

    def __init__(self, make: Callable[[int], Batch], device: torch.device) -> None:
        self._make, self._device = make, device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[int, Future[Batch]] | None = None
        self.waited_s = 0.0

    def get(self, step: int) -> list[Tensor]:
        """Return a step's batch on the device, and start to prepare the next one."""
        began = time.perf_counter()
        future = self._next[1] if self._next and self._next[0] == step else self._pool.submit(self._prepare, step)
        batch = future.result()
        self.waited_s += time.perf_counter() - began
        self._next = (step + 1, self._pool.submit(self._prepare, step + 1))
        return [tensor.to(self._device, non_blocking=True) for tensor in batch]

    def close(self) -> None:
        """Stop the thread and discard the batch that is ready."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, step: int) -> Batch:
        inputs, targets = self._make(step)
        return (inputs.pin_memory(), targets.pin_memory()) if self._device.type == "cuda" else (inputs, targets)
