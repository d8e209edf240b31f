"""Joins and leaves the process group, and sets the timeouts of its collectives."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

FIRST_STEP_TIMEOUT_S, TIMEOUT_S = 300, 100  # of a collective: long for the first step, which compiles; then short, to notice a lost rank
EXPORT_TIMEOUT_S = 3600  # for 7B, one rank uploads 28 GB
_TEARDOWN_S = 10.0


@dataclass(frozen=True)
class RankInfo:
    """The rank and the device of this process, and the number of ranks in the job and on its node."""

    rank: int
    world: int
    local_world: int
    device: torch.device

    @classmethod
    def current(cls) -> RankInfo:
        """Return this process's rank, world size and device, from the process group and torchrun's variables."""
        world = dist.get_world_size()
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        return cls(dist.get_rank(), world, int(os.environ.get("LOCAL_WORLD_SIZE", world)), device)


def join_process_group() -> None:
    """Join the process group of the other ranks. Without torchrun, make a group of one rank."""
    os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "20000")  # the flight recorder shows which collective hung
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:  # the older name of the same setting, which a user may have set
        # torch reads it at the first use of a GPU. Less memory is lost to fragmentation; torchtitan sets the same (2026-11).
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    timeout = datetime.timedelta(seconds=FIRST_STEP_TIMEOUT_S)
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=timeout)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1, timeout=timeout)


def compute_deterministically() -> None:
    """Make torch use only deterministic algorithms. Call this before the first use of a GPU.

    torch then leaves out cuDNN's attention, sums an embedding's gradient in a fixed order, and does not choose kernels by
    measuring them. Sources: torch's notes on randomness, torch 2.15's sdp_utils.cpp and inductor's config (2026-11).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS: NVIDIA's documentation on reproducible results
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only finds errors, and costs time


def shorten_timeouts(groups: Sequence[Any]) -> str:
    """Shorten the timeout of the default group and these groups after the first step of all ranks. Returns a message."""
    dist.barrier()  # with the long timeout: another rank may still compile
    if set_timeouts(TIMEOUT_S, groups):
        return f"the collectives' timeout is now {TIMEOUT_S} s"
    return f"this torch cannot change the collectives' timeout, which stays {FIRST_STEP_TIMEOUT_S} s"


def set_timeouts(seconds: int, groups: Sequence[Any]) -> bool:
    """Set the timeout of the default group and these groups (they do not inherit it). Returns False if torch is too old."""
    set_timeout: Callable[..., None] | None = getattr(dist.distributed_c10d, "set_timeout", None)
    set_timeout = set_timeout or getattr(dist.distributed_c10d, "_set_pg_timeout", None)
    if set_timeout is None:
        return False
    for group in (dist.group.WORLD, *groups):
        set_timeout(datetime.timedelta(seconds=seconds), group)
    return True


def leave_process_group(code: int) -> None:
    """Destroy the process group on all ranks together. If the teardown hangs, a watchdog ends this process."""
    dist.barrier()
    watchdog = threading.Timer(_TEARDOWN_S, os._exit, [code])
    watchdog.daemon = True
    watchdog.start()
    dist.destroy_process_group()
