"""Counts FLOPs per token by PaLM's convention, and the model FLOPs utilisation (MFU).

PaLM counts 6 FLOPs per weight that multiplies a token (the output matrix counts, the input embedding does not), and
12 x layers x width x context for attention, as if it were not causal. `mfu_causal` halves the attention; `hfu` adds
the recomputed FLOPs. A device that is not in the table has no peak, so its utilisation is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from . import llama
from .config import Config
from .model import padded_vocab

# Dense FLOP/s of bf16, or of fp16 where a device has no bf16 (V100, T4): half of the value "with sparsity" in data sheets. A row matches if
# all its words are in the device's name. The first such row is taken.
# NVIDIA's own pages could not be opened. What they say was read on other pages, 2026-12-01:
# - GB200, B200: 5 and 4.5 PFLOPS with sparsity (NVIDIA's Blackwell data sheet, one GPU). Some pages give both 4.5.
# - H100 989, PCIe 756, NVL 835 and H200 989: also the table of torchtitan 0258167, tools/utils.py. H200 NVL: 1,671 with sparsity, as the
#   H100 NVL; an owner measured 836 (bf16 product). GH200 has the H100's or H200's GPU: 989 (three tables of other projects).
# - A100 312, 624 with sparsity: nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf, quoted by glennklockwood.com/garden/processors/A100.
# - L4 121 and A10 125: nvidia.com/en-us/data-center/l4 and /products/a10-gpu, quoted in text-generation-inference's launcher/src/main.rs.
#   L4: also 242 with sparsity on other pages. L40S 362: nanochat's table (get_peak_flops). L40 181.05.
# - A10G: 70, 140 with sparsity (d1.awsstatic.com/product-marketing/ec2/NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf). An owner measured
#   66.6. The 125 in many lists is the A10's.
# - V100: 125 with NVLink, 112 on PCIe (tesla-volta-v100-datasheet-letter-fnl-web.pdf). T4: 65 (t4-tensor-core-datasheet).
PEAKS = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "GH200": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "V100 PCIE": 112e12,
    "V100": 125e12,
    "T4": 65e12,
}


@dataclass(frozen=True)
class FlopsPerToken:
    """FLOPs per token of a training step."""

    palm: float
    causal: float
    hardware: float


def gpt_flops(config: Config) -> FlopsPerToken:
    """Count a GPT's FLOPs per token, forward and backward."""
    block, inner, vocab = 12 * config.width**2, config.width, padded_vocab(config.vocab)
    if config.model == "llama":
        inner = config.heads * llama.head_width(config)
        block = 2 * config.width * (inner + llama.kv_heads(config) * llama.head_width(config)) + 3 * config.width * llama.ffn(config)
        vocab = config.vocab
    attention = 12 * config.layers * inner * config.context
    palm = float(6 * (config.layers * block + vocab * config.width) + attention)
    causal = palm - attention / 2
    recomputed = (2 * config.layers * block + attention / 6) if config.recompute == "block" else 0.0
    return FlopsPerToken(palm, causal, causal + recomputed)


def conv_flops(model: nn.Module, size: tuple[int, int]) -> FlopsPerToken:
    """Return a convolutional model's FLOPs per image and training step: 6 per use of a weight (2 forward, 4 backward).

    One forward pass counts how often each weight is used. An image counts as one token.
    """
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
    return FlopsPerToken(6.0 * uses, 6.0 * uses, 6.0 * uses)


def peak_flops(device: torch.device) -> float | None:
    """Return the device's dense FLOP/s from the table; None if the device is not in it."""
    return named_peak(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def named_peak(name: str) -> float | None:
    """Return the dense FLOP/s of a device by its name, such as `NVIDIA A100-SXM4-80GB`; None if unknown."""
    words = set(name.replace("-", " ").split())
    return next((flops for key, flops in PEAKS.items() if words.issuperset(key.split())), None)


def utilisation(flops: FlopsPerToken, tokens_per_s: float | None, world: int, device_peak: float | None) -> dict[str, float | None]:
    """Return mfu, mfu_causal and hfu for the tokens per second of all ranks together."""
    names: Sequence[tuple[str, float]] = (("mfu", flops.palm), ("mfu_causal", flops.causal), ("hfu", flops.hardware))
    if tokens_per_s is None or device_peak is None:
        return {name: None for name, _ in names}
    return {name: count * tokens_per_s / world / device_peak for name, count in names}
