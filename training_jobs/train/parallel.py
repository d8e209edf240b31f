"""Distributes a model over the ranks: single, replicated (DDP), sharded (FSDP2), or sharded per node and replicated (HSDP)."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from .config import Config, ConfigError

FIRST_STEP_TIMEOUT_S, TIMEOUT_S = 300, 100  # of a collective: compiling takes long, a lost peer must not
EXPORT_TIMEOUT_S = 3600  # of a model of 7B: 28 GB that one rank uploads
_TEARDOWN_S = 10.0
_STATE_BYTES = 16  # per parameter: weight, gradient and two moments in fp32
_MEMORY_SHARE = 0.6  # of a device's memory for state; the rest is for activations
_BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}

_MODES = {"on": None, "max": "max-autotune-no-cudagraphs", "graphs": "reduce-overhead"}


@dataclass(frozen=True)
class RankInfo:
    """This process among the ranks."""

    rank: int
    world: int
    local_world: int
    device: torch.device

    @classmethod
    def current(cls) -> RankInfo:
        """Read the process group and torchrun's variables."""
        world = dist.get_world_size()
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        return cls(dist.get_rank(), world, int(os.environ.get("LOCAL_WORLD_SIZE", world)), device)


def join_process_group() -> None:
    """Join the process group of the other ranks, or make one of a single rank."""
    os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "20000")  # the flight recorder shows which collective hung
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    timeout = datetime.timedelta(seconds=FIRST_STEP_TIMEOUT_S)
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=timeout)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1, timeout=timeout)


def shorten_timeout() -> str:
    """Shorten the collectives' timeout after the first step, when nothing compiles any more. Returns a message."""
    if _set_timeout(TIMEOUT_S):
        return f"the collectives' timeout is now {TIMEOUT_S} s"
    return f"this torch cannot change the collectives' timeout, which stays {FIRST_STEP_TIMEOUT_S} s"


def lengthen_timeout() -> None:
    """Lengthen the collectives' timeout after training: the other ranks wait while rank 0 exports the model."""
    _set_timeout(EXPORT_TIMEOUT_S)


def _set_timeout(seconds: int) -> bool:
    set_timeout: Callable[..., None] | None = getattr(dist.distributed_c10d, "set_timeout", None)
    set_timeout = set_timeout or getattr(dist.distributed_c10d, "_set_pg_timeout", None)
    if set_timeout is not None:
        set_timeout(datetime.timedelta(seconds=seconds), dist.group.WORLD)
    return set_timeout is not None


def leave_process_group(code: int) -> None:
    """Leave the process group together. A watchdog exits when the teardown hangs."""
    dist.barrier()
    watchdog = threading.Timer(_TEARDOWN_S, os._exit, [code])
    watchdog.daemon = True
    watchdog.start()
    dist.destroy_process_group()


def choose_strategy(strategy: str, parameters: int, memory: int | None, world: int, local_world: int) -> tuple[str, str]:
    """Choose the strategy for a model's size, and say why. Raises ConfigError for an impossible one."""
    if strategy != "auto":
        if strategy == "single" and world > 1:
            raise ConfigError(f"strategy: got single, but there are {world} ranks; fix: strategy=ddp")
        if strategy == "hsdp" and (world <= local_world or world % local_world):
            raise ConfigError(
                f"strategy: got hsdp, which needs several complete nodes, but there are {world} ranks with {local_world} per node"
            )
        return strategy, "as set"
    if world == 1:
        return "single", "one rank"
    if memory is None:
        return "ddp", "no GPU"
    needs, has = parameters * _STATE_BYTES, memory * _MEMORY_SHARE
    size = f"{needs / 2**30:.1f} GiB of weights, gradients and moments, {has / 2**30:.1f} GiB for them per device"
    if needs <= has:
        return "ddp", f"fits one device: {size}"
    if world > local_world > 1 and world % local_world == 0 and needs / local_world <= has:
        return "hsdp", f"fits one node: {size}, {local_world} devices per node"
    return "fsdp", f"needs all devices: {size}"


def resolve_auto(config: Config, ranks: RankInfo, parameters: int) -> tuple[Config, list[str]]:
    """Replace every `auto` in the config for this machine. Returns the new config and the reasons as text."""
    on_gpu = ranks.device.type == "cuda"
    memory = torch.cuda.get_device_properties(ranks.device).total_memory if on_gpu else None
    strategy, why = choose_strategy(config.strategy, parameters, memory, ranks.world, ranks.local_world)
    precision, precision_why = _choose_precision(config.precision, ranks.device)
    compiled = config.compile if config.compile != "auto" else "on" if on_gpu else "off"
    missing = "a small vocabulary" if config.vocab <= 1024 else "" if on_gpu else "no GPU"
    loss, loss_why = ("plain", missing) if missing else ("chunked", "the logits are never stored")
    if config.loss != "auto":
        loss, loss_why = config.loss, "as set"
    saving = config.saving if config.saving != "auto" else "async" if on_gpu else "sync"
    reasons = [f"strategy {strategy}: {why}", f"loss {loss}: {loss_why}", f"{precision}{precision_why}, compile {compiled}, saves {saving}"]
    return replace(config, strategy=strategy, precision=precision, compile=compiled, loss=loss, saving=saving), reasons


def _choose_precision(precision: str, device: torch.device) -> tuple[str, str]:
    """Choose the precision, and say why it is not bf16 on a GPU. Emulated bf16 is slower than fp32: V100 and T4 have none."""
    if device.type != "cuda" or precision == "fp32":
        return ("fp32" if precision == "auto" else precision), ""
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", ""
    name = torch.cuda.get_device_name(device)
    if precision == "bf16":
        raise ConfigError(f"precision: got bf16, which {name} only emulates; fix: precision=fp32, or another GPU")
    return "fp32", f" ({name} only emulates bf16)"


class ParallelModel:
    """A model with its strategy: forward passes, gradient accumulation and clipping are the same for all strategies."""

    def __init__(self, model: nn.Module, config: Config, ranks: RankInfo) -> None:
        self._config, self._ranks = config, ranks
        order = [_BACKENDS[name] for name in config.attention.split(",")]
        self._attention = order if ranks.device.type == "cuda" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        self._dtype = torch.bfloat16 if config.precision == "bf16" else None
        self.model = model
        if config.strategy in ("fsdp", "hsdp"):
            _shard(model, config, ranks)
        _materialise(model, ranks.device)
        if config.compile in _MODES:
            blocks: Any = model.blocks
            for block in blocks:  # compile what is inside FSDP2's hooks, not the hooks
                block.forward = torch.compile(block.forward, mode=_MODES[config.compile])
        self.wrapped: nn.Module = model

    def wrap_ddp(self) -> None:
        """Wrap the initialised model for DDP; the other strategies need no wrapper."""
        if self._config.strategy == "ddp":
            ids = [self._ranks.device.index] if self._ranks.device.type == "cuda" else None
            # Buffers are constants: broadcasting them would make every forward pass wait for rank 0.
            self.wrapped = DistributedDataParallel(self.model, device_ids=ids, gradient_as_bucket_view=True, broadcast_buffers=False)

    @contextlib.contextmanager
    def forward_context(self) -> Iterator[None]:
        """Set the precision and the attention backends for forward passes."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(sdpa_kernel(self._attention, set_priority=True))
            if self._dtype is not None:
                stack.enter_context(torch.autocast(self._ranks.device.type, self._dtype))
            yield

    @contextlib.contextmanager
    def gradient_sync(self, last: bool) -> Iterator[None]:
        """Exchange gradients only after the last part of a batch."""
        if isinstance(self.wrapped, DistributedDataParallel):
            with contextlib.nullcontext() if last else self.wrapped.no_sync():
                yield
            return
        if self._config.strategy in ("fsdp", "hsdp"):
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield

    def clip_gradients(self, most: float) -> Tensor:
        """Clip the gradients to a norm of `most`, 0 = no limit. Returns the norm before clipping, on the device."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), most if most > 0 else float("inf"))
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _shard(model: nn.Module, config: Config, ranks: RankInfo) -> None:
    """Shard each block, then the rest. The last block stays gathered: the backward pass needs it at once."""
    if config.strategy == "hsdp":
        shape, names = (ranks.world // ranks.local_world, ranks.local_world), ("replicate", "shard")
    else:
        shape, names = (ranks.world,), ("shard",)  # type: ignore[assignment]
    more: dict[str, Any] = {"mesh": init_device_mesh(ranks.device.type, shape, mesh_dim_names=names)}
    if config.precision == "bf16":
        more["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    blocks = list(model.blocks)  # type: ignore[arg-type]
    for block in blocks:
        fully_shard(block, reshard_after_forward=block is not blocks[-1], **more)
    fully_shard(model, **more)
    register_fsdp_forward_method(model, "logits")


def _materialise(model: nn.Module, device: torch.device) -> None:
    """Allocate memory for a model built on the meta device. Its buffers were computed on the CPU and are copied."""
    buffers = {name: buffer.to(device) for name, buffer in model.named_buffers()}
    model.to_empty(device=device)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
