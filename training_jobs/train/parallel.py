"""How a model lies on the ranks: whole on one, copied (DDP), sharded (FSDP2), or sharded in each node and copied between them (HSDP)."""

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
from .model import chunked_loss_missing

FIRST_STEP_S, LATER_S = 300, 100  # a collective's patience: compiling takes long, a lost peer must not
_TEARDOWN_S = 10.0
_STATE_BYTES = 16  # of a parameter: weight, gradient and two moments in fp32
_MEMORY_SHARE = 0.6  # of a device's memory may be state; the rest is for activations
_BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}

_MODES = {"on": None, "max": "max-autotune-no-cudagraphs", "graphs": "reduce-overhead"}


@dataclass(frozen=True)
class Place:
    """Where this process is."""

    rank: int
    world: int
    local_world: int
    device: torch.device

    @classmethod
    def here(cls) -> Place:
        """From the process group and torchrun's variables."""
        world = dist.get_world_size()
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        return cls(dist.get_rank(), world, int(os.environ.get("LOCAL_WORLD_SIZE", world)), device)


def join() -> None:
    """Join the other ranks, or be the only one."""
    os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "20000")  # the flight recorder tells which collective hung
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    patience = datetime.timedelta(seconds=FIRST_STEP_S)
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=patience)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1, timeout=patience)


def lower_patience() -> str:
    """After the first step a peer that does not answer is lost, not compiling. Returns what was done."""
    set_timeout: Callable[..., None] | None = getattr(dist.distributed_c10d, "set_timeout", None)
    set_timeout = set_timeout or getattr(dist.distributed_c10d, "_set_pg_timeout", None)
    if set_timeout is None:
        return f"this torch cannot lower the collectives' timeout: it stays {FIRST_STEP_S} s"
    set_timeout(datetime.timedelta(seconds=LATER_S), dist.group.WORLD)
    return f"collectives time out after {LATER_S} s from now on"


def part(code: int) -> None:
    """Leave together, and for certain: a gloo rank that leaves early hangs the others, teardown can hang by itself."""
    dist.barrier()
    watchdog = threading.Timer(_TEARDOWN_S, os._exit, [code])
    watchdog.daemon = True
    watchdog.start()
    dist.destroy_process_group()


def choose(strategy: str, parameters: int, memory: int | None, world: int, local_world: int) -> tuple[str, str]:
    """The strategy for a model of a size, and why. Raises ConfigError for one that cannot be."""
    if strategy != "auto":
        if strategy == "single" and world > 1:
            raise ConfigError(f"strategy: got single, but there are {world} ranks. fix: strategy=ddp")
        if strategy == "hsdp" and (world <= local_world or world % local_world):
            raise ConfigError(f"strategy: got hsdp, which needs several whole nodes; there are {world} ranks, {local_world} per node")
        return strategy, "as asked"
    if world == 1:
        return "single", "one rank"
    if memory is None:
        return "ddp", "on CPUs"
    needs, has = parameters * _STATE_BYTES, memory * _MEMORY_SHARE
    size = f"{needs / 2**30:.1f} GiB of weights, gradients and moments, {has / 2**30:.1f} GiB for them on each device"
    if needs <= has:
        return "ddp", f"it fits: {size}"
    if world > local_world > 1 and world % local_world == 0 and needs / local_world <= has:
        return "hsdp", f"it fits a node: {size}, {local_world} devices per node"
    return "fsdp", f"it must be shared by all: {size}"


def decide(config: Config, place: Place, parameters: int) -> tuple[Config, list[str]]:
    """The config with every `auto` settled for this machine, and the reasons in words."""
    on_gpu = place.device.type == "cuda"
    memory = torch.cuda.get_device_properties(place.device).total_memory if on_gpu else None
    strategy, why = choose(config.strategy, parameters, memory, place.world, place.local_world)
    bf16 = on_gpu and torch.cuda.is_bf16_supported()
    precision = config.precision if config.precision != "auto" else "bf16" if bf16 else "fp32"
    compiled = config.compile if config.compile != "auto" else "on" if on_gpu else "off"
    missing = "a small vocabulary" if config.vocab <= 1024 else "" if on_gpu else "no GPU"
    loss, loss_why = ("plain", missing) if missing else ("chunked", "the logits are never stored")
    if config.loss != "auto":
        loss, loss_why = config.loss, "as asked"
    if loss == "chunked" and (lacking := chunked_loss_missing()):
        loss, loss_why = "plain", lacking
    saving = config.saving if config.saving != "auto" else "async" if on_gpu else "sync"
    reasons = [f"strategy {strategy}: {why}", f"loss {loss}: {loss_why}", f"{precision}, compile {compiled}, saves {saving}"]
    return replace(config, strategy=strategy, precision=precision, compile=compiled, loss=loss, saving=saving), reasons


class Net:
    """A model on its place: calls with gradients, accumulation, clipping, alike for every strategy."""

    def __init__(self, model: nn.Module, config: Config, place: Place) -> None:
        self._config, self._place = config, place
        order = [_BACKENDS[name] for name in config.attention.split(",")]
        self._attention = order if place.device.type == "cuda" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        self._dtype = torch.bfloat16 if config.precision == "bf16" else None
        self.model = model
        if config.strategy in ("fsdp", "hsdp"):
            _shard(model, config, place)
        _materialise(model, place.device)
        if config.compile in _MODES:
            blocks: Any = model.blocks
            for block in blocks:  # what is inside of FSDP2's hooks, not the hooks
                block.forward = torch.compile(block.forward, mode=_MODES[config.compile])
        self.net: nn.Module = model

    def copy_to_ranks(self) -> None:
        """Wrap the model that has its weights now; only copies need it, shards are in place."""
        if self._config.strategy == "ddp":
            ids = [self._place.device.index] if self._place.device.type == "cuda" else None
            # The buffers are constants: to send them around would make every forward pass wait for rank 0.
            self.net = DistributedDataParallel(self.model, device_ids=ids, gradient_as_bucket_view=True, broadcast_buffers=False)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The precision and the attention backends of forward passes."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(sdpa_kernel(self._attention, set_priority=True))
            if self._dtype is not None:
                stack.enter_context(torch.autocast(self._place.device.type, self._dtype))
            yield

    @contextlib.contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Gradients are exchanged after the last part of a batch alone."""
        if isinstance(self.net, DistributedDataParallel):
            with contextlib.nullcontext() if last else self.net.no_sync():
                yield
            return
        if self._config.strategy in ("fsdp", "hsdp"):
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield

    def clip(self, most: float) -> Tensor:
        """Clip the gradients; the norm they had, on the device."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), most if most > 0 else float("inf"))
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _shard(model: nn.Module, config: Config, place: Place) -> None:
    """FSDP2 per block, then the rest; the last block is needed again at once and stays whole."""
    if config.strategy == "hsdp":
        shape, names = (place.world // place.local_world, place.local_world), ("replicate", "shard")
    else:
        shape, names = (place.world,), ("shard",)  # type: ignore[assignment]
    more: dict[str, Any] = {"mesh": init_device_mesh(place.device.type, shape, mesh_dim_names=names)}
    if config.precision == "bf16":
        more["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    blocks = list(model.blocks)  # type: ignore[arg-type]
    for block in blocks:
        fully_shard(block, reshard_after_forward=block is not blocks[-1], **more)
    fully_shard(model, **more)
    register_fsdp_forward_method(model, "logits")


def _materialise(model: nn.Module, device: torch.device) -> None:
    """Give a model that was built without memory its place; its buffers were computed and are kept."""
    buffers = {name: buffer.to(device) for name, buffer in model.named_buffers()}
    model.to_empty(device=device)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
