"""Work per token in one stated convention, the device's peak, and the shares of it that are reported.

PaLM's count: 6 FLOPs per weight that multiplies a token (the output matrix counts, the input table does not) and
12 x layers x width x context for attention, as if it were not causal. `mfu_causal` halves the attention; `hfu` adds
what is computed twice. A device that is not in the table has no peak, and the shares are null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from .config import Config
from .model import padded

# Dense bf16 FLOP/s by the maker's data sheets (2026-11), first match of the device's name.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
}


@dataclass(frozen=True)
class Work:
    """FLOPs per token of a training step."""

    palm: float
    causal: float
    hardware: float


def gpt_work(config: Config) -> Work:
    """What one token of a GPT costs, forwards and backwards."""
    weights = 12 * config.layers * config.width**2 + padded(config.vocab) * config.width
    attention = 12 * config.layers * config.width * config.context
    palm = float(6 * weights + attention)
    causal = palm - attention / 2
    again = (24 * config.layers * config.width**2 + attention / 6) if config.recompute == "block" else 0.0
    return Work(palm, causal, causal + again)


def conv_work(model: nn.Module, size: tuple[int, int]) -> Work:
    """What one image costs: 6 FLOPs for each use of a weight, counted by one look at the shapes."""
    uses = 0

    def count(module: nn.Module, _given: object, made: torch.Tensor) -> None:
        nonlocal uses
        if isinstance(module, nn.Conv2d | nn.Linear):
            uses += module.weight.numel() * (made[0, 0].numel() if made.dim() == 4 else 1)

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    channels = next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        model.logits(torch.zeros(1, *size, channels, dtype=torch.uint8))  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    return Work(6.0 * uses, 6.0 * uses, 6.0 * uses)


def peak(device: torch.device) -> float | None:
    """The device's dense bf16 FLOP/s; None when it is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for key, flops in PEAKS.items() if all(word in name for word in key.split())), None)


def shares(work: Work, tokens_per_s: float | None, world: int, device_peak: float | None) -> dict[str, float | None]:
    """mfu, mfu_causal and hfu at a speed of all ranks together."""
    names: Sequence[tuple[str, float]] = (("mfu", work.palm), ("mfu_causal", work.causal), ("hfu", work.hardware))
    if tokens_per_s is None or device_peak is None:
        return {name: None for name, _ in names}
    return {name: flops * tokens_per_s / world / device_peak for name, flops in names}
