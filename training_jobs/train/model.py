"""A small GPT over bytes: pre-norm blocks, rotary positions, one matrix for input and output."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import Config

_VOCABULARY = 256


class Gpt(nn.Module):
    """Windows of bytes in, the mean loss over them out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        cos, sin = _rotation(config.context, config.width // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(_initialise)

    def forward(self, windows: Tensor) -> Tensor:
        """The mean cross-entropy, in nats per byte, of each byte given those before it in its window."""
        x = self.embedding(windows[:, :-1])
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = functional.linear(self.norm(x), self.embedding.weight)
        return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


class _Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.norm_1, self.norm_2 = nn.RMSNorm(config.width), nn.RMSNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.up = nn.Linear(config.width, 4 * config.width, bias=False)
        self.down = nn.Linear(4 * config.width, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        shape = (batch, length, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm_1(x)).view(shape).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(_rotate(q, cos, sin), _rotate(k, cos, sin), v, is_causal=True)
        x = x + self._drop(self.out(attended.transpose(1, 2).reshape(batch, length, width)))
        return x + self._drop(self.down(functional.relu(self.up(self.norm_2(x))).square()))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def _rotation(length: int, width: int) -> tuple[Tensor, Tensor]:
    speed = 1.0 / 10_000 ** (torch.arange(0, width, 2).float() / width)
    angle = torch.outer(torch.arange(length).float(), speed)
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.05)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5 / 2)
