"""Distributes a model over the ranks: single rank, DDP (replicated), FSDP2 (sharded), HSDP (sharded in each node)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from .config import Config, ConfigError
from .model import compile_loss
from .process_group import EXPORT_TIMEOUT_S, RankInfo, set_timeouts, shorten_timeouts

_STATE_BYTES = 16  # bytes per parameter: weight, gradient and two moments in fp32
_MEMORY_SHARE = 0.6  # fraction of a device's memory for these; the rest is for activations
_BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}

_MODES = {"on": None, "max": "max-autotune-no-cudagraphs", "graphs": "reduce-overhead"}


def choose_strategy(strategy: str, parameters: int, memory: int | None, world: int, local_world: int) -> tuple[str, str]:
    """Choose the strategy for a model's size. Returns the strategy and the reason. Raises ConfigError for an impossible strategy."""
    if strategy != "auto":
        if strategy == "single" and world > 1:
            raise ConfigError(f"strategy: got single, but there are {world} ranks; fix: strategy=ddp")
        if strategy == "hsdp" and (world <= local_world or world % local_world):
            raise ConfigError(
                f"strategy: got hsdp, which needs several complete nodes; {world} ranks, {local_world} per node; fix: strategy=fsdp"
            )
        return strategy, "as set"
    if world == 1:
        return "single", "one rank"
    if memory is None:
        return "ddp", "no GPU"
    needs, has = parameters * _STATE_BYTES, memory * _MEMORY_SHARE
    size = f"{needs / 2**30:.1f} GiB of weights, gradients and moments, {has / 2**30:.1f} GiB available per device"
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
    if config.deterministic == "on" and on_gpu:
        reasons.append("deterministic: without cuDNN's attention and other fast algorithms, which costs speed (not measured)")
    return replace(config, strategy=strategy, precision=precision, compile=compiled, loss=loss, saving=saving), reasons


def _choose_precision(precision: str, device: torch.device) -> tuple[str, str]:
    """Choose the precision. If a GPU does not get bf16, also return the reason: V100 and T4 emulate bf16 slowly."""
    if device.type != "cuda" or precision == "fp32":
        return ("fp32" if precision == "auto" else precision), ""
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", ""
    name = torch.cuda.get_device_name(device)
    if precision == "bf16":
        raise ConfigError(f"precision: got bf16, which {name} only emulates; fix: precision=fp32, or another GPU")
    return "fp32", f" ({name} only emulates bf16)"


def allow_tf32(config: Config) -> None:
    """Allow TF32 for matrix products that stay in fp32 with precision=bf16. precision=fp32 keeps exact fp32."""
    torch.set_float32_matmul_precision("high" if config.precision == "bf16" else "highest")


class ParallelModel:
    """A model with its strategy. All strategies have the same methods for forward passes, gradient accumulation and clipping."""

    def __init__(self, model: nn.Module, config: Config, ranks: RankInfo) -> None:
        self._config, self._ranks = config, ranks
        order = [_BACKENDS[name] for name in config.attention.split(",")]
        self._attention = order if ranks.device.type == "cuda" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        self._dtype = torch.bfloat16 if config.precision == "bf16" else None
        allow_tf32(config)
        self.model = model
        self._mesh: DeviceMesh | None = None
        if config.strategy in ("fsdp", "hsdp"):
            self._mesh = _shard(model, config, ranks)
        _materialise(model, ranks.device)
        if config.compile in _MODES:
            blocks: Any = model.blocks
            for block in blocks:  # compile the code inside FSDP2's hooks, not the hooks
                block.forward = torch.compile(block.forward, mode=_MODES[config.compile])
            if config.loss == "chunked":
                compile_loss(model)
        self.wrapped: nn.Module = model

    def wrap_ddp(self) -> None:
        """Wrap the initialised model with DDP. The other strategies need no wrapper."""
        if self._config.strategy == "ddp":
            ids = [self._ranks.device.index] if self._ranks.device.type == "cuda" else None
            # Buffers are constants: broadcasting them would make every forward pass wait for rank 0.
            buffers = [name for name, _ in self.model.named_buffers()]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.model, buffers)  # type: ignore[no-untyped-call]
            self.wrapped = DistributedDataParallel(self.model, device_ids=ids, gradient_as_bucket_view=True)

    def shorten_timeouts(self) -> str:
        """Shorten the timeout of every process group after the first (compiling) step. All ranks call this. Returns a message."""
        return shorten_timeouts(self._groups())

    def lengthen_timeouts(self) -> None:
        """Lengthen the timeout of every process group after training, because the other ranks wait while rank 0 exports the model."""
        set_timeouts(EXPORT_TIMEOUT_S, self._groups())

    def _groups(self) -> list[Any]:
        return self._mesh.get_all_groups() if self._mesh else []

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
        """Synchronise gradients only after the last part of a batch (gradient accumulation).

        FSDP2 still reduces and scatters them after each part. Otherwise every device would keep the gradients of the whole
        model until the last part: 14 to 28 GB for 7B. HSDP synchronises the nodes only after the last part.
        """
        if isinstance(self.wrapped, DistributedDataParallel):
            with contextlib.nullcontext() if last else self.wrapped.no_sync():
                yield
            return
        if self._config.strategy == "hsdp":
            self.model.set_requires_all_reduce(last)  # type: ignore[operator]
        yield

    def clip_gradients(self, most: float) -> Tensor:
        """Clip the gradients to the norm `most`; 0 = no limit. Returns the norm before clipping, on the device."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), most if most > 0 else float("inf"))
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _shard(model: nn.Module, config: Config, ranks: RankInfo) -> DeviceMesh:
    """Shard each block, then the rest. The last block stays gathered, because the backward pass needs it first."""
    if config.strategy == "hsdp":
        shape, names = (ranks.world // ranks.local_world, ranks.local_world), ("replicate", "shard")
    else:
        shape, names = (ranks.world,), ("shard",)  # type: ignore[assignment]
    mesh = init_device_mesh(ranks.device.type, shape, mesh_dim_names=names)
    more: dict[str, Any] = {"mesh": mesh}
    if config.precision == "bf16":  # the inputs keep their types: the angles of the rotary positions are fp32
        more["mp_policy"] = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    blocks = list(model.blocks)  # type: ignore[arg-type]
    for block in blocks:
        fully_shard(block, reshard_after_forward=block is not blocks[-1], **more)
    fully_shard(model, **more)
    register_fsdp_forward_method(model, "logits")
    return mesh


def _materialise(model: nn.Module, device: torch.device) -> None:
    """Allocate memory for a model on the meta device, and copy its buffers, which were computed on the CPU."""
    buffers = {name: buffer.to(device) for name, buffer in model.named_buffers()}
    model.to_empty(device=device)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
