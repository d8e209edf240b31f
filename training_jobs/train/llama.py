"""Llama and Qwen2: grouped-query attention, SwiGLU, rotary positions with a configurable base, optional biases.

The results equal transformers' LlamaForCausalLM and Qwen2ForCausalLM, so huggingface.py can load their checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import Mask, attend
from .config import Config
from .model import LanguageModel, recomputed, rotate, tied_std


class Llama(LanguageModel):
    """Maps tokens and next tokens to the sum of the losses. The vocabulary is not padded, because Hugging Face weights have no padding."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = _Norm(config)
        self.head = None if config.tied == "on" else nn.Linear(config.width, config.vocab, bias=False)
        self.set_rotation(config.context, frequencies(config))

    def init_std(self, name: str, parameter: Tensor) -> float | None:
        """Return a parameter's initial standard deviation; None = all ones. Logits start small at any width, as in Gpt."""
        if "norm" in name:
            return None
        if name.endswith((".bias", "o.weight", "down.weight")):
            return 0.0
        if name.startswith("embedding") and self.head is None:
            return tied_std(parameter)
        return float(parameter.shape[1] ** -0.5 / 2)


class _Norm(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight, self._eps = nn.Parameter(torch.ones(config.width)), config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self._eps).to(x.dtype)


class _Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = config.heads, kv_heads(config), head_width(config)
        self.dropout, self.recompute = config.dropout, config.recompute
        biased = config.biases == "qkv"
        self.norm_1, self.norm_2 = _Norm(config), _Norm(config)
        self.q = nn.Linear(config.width, self.heads * self.head_width, bias=biased)
        self.k = nn.Linear(config.width, self.kv_heads * self.head_width, bias=biased)
        self.v = nn.Linear(config.width, self.kv_heads * self.head_width, bias=biased)
        self.o = nn.Linear(self.heads * self.head_width, config.width, bias=False)
        self.gate, self.up = (nn.Linear(config.width, ffn(config), bias=False) for _ in range(2))
        self.down = nn.Linear(ffn(config), config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask | None = None) -> Tensor:
        return recomputed(self._work, self.recompute if self.training else "none", x, cos, sin, mask)

    def _work(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask | None) -> Tensor:
        batch, length, _ = x.shape
        normed = self.norm_1(x)
        q, k, v = (part(normed).view(batch, length, -1, self.head_width).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        attended = attend(q, k, v, mask)
        x = x + self._drop(self.o(attended.transpose(1, 2).reshape(batch, length, -1)))
        normed = self.norm_2(x)
        return x + self._drop(self.down(functional.silu(self.gate(normed)) * self.up(normed)))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def kv_heads(config: Config) -> int:
    """Return the number of key and value heads."""
    return config.kv_heads or config.heads


def head_width(config: Config) -> int:
    """Return the width of one head."""
    return config.head_width or config.width // config.heads


def ffn(config: Config) -> int:
    """Return the inner width of the feed-forward layer. Default: 8/3 of the model's width, rounded up to a multiple of 128."""
    return config.ffn or -(-8 * config.width // 3 // 128) * 128


def frequencies(config: Config) -> Tensor:
    """Return the rotary frequencies of a head. `rope_scaling` stretches them for longer contexts, as in Llama 3.1."""
    width = head_width(config)
    speeds = 1.0 / config.rope_theta ** (torch.arange(0, width, 2, device="cpu").float() / width)
    if not config.rope_scaling:
        return speeds
    factor, low, high, original = (float(part) for part in config.rope_scaling.split(","))
    turns = original * speeds / (2 * math.pi)  # turns within the original context
    blend = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1.0 - blend) * speeds / factor + blend * speeds
