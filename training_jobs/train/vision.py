"""A small ResNet with three stages. It has group norm, not batch norm, so that the ranks share no statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .chunked_loss import IGNORED
from .config import Config

_STAGES = 3


class ResNet(nn.Module):
    """Maps images and their classes to the sum of the losses."""

    def __init__(self, config: Config, channels: int, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.smoothing, self.dropout = config.label_smoothing, config.dropout
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, device="cpu").view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, device="cpu").view(1, -1, 1, 1), persistent=False)
        self.stem = nn.Conv2d(channels, config.width, 3, padding=1, bias=False)
        widths = [config.width * 2**stage for stage in range(_STAGES)]
        self.blocks = nn.ModuleList(
            _Block(widths[max(stage - 1, 0)] if index == 0 else width, width, 2 if stage and not index else 1)
            for stage, width in enumerate(widths)
            for index in range(config.layers)
        )
        self.norm = nn.GroupNorm(8, widths[-1])
        self.head = nn.Linear(widths[-1], config.vocab, bias=False)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the cross-entropies in nats."""
        smoothing = self.smoothing if self.training else 0.0
        return functional.cross_entropy(self.logits(images), targets, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of each class; the images are uint8, channels last."""
        x = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        pooled = functional.relu(self.norm(x)).mean(dim=(2, 3))
        return self.head(functional.dropout(pooled, self.dropout, self.training)).float()  # type: ignore[no-any-return]

    def init_std(self, name: str, parameter: Tensor) -> float | None:
        """Return a parameter's initial standard deviation; None = all ones. Each block starts as the identity."""
        if "norm" in name:
            return 0.0 if name.endswith("bias") else None
        if name.endswith("conv_2.weight"):
            return 0.0
        if name == "head.weight":
            return float(parameter.shape[1] ** -0.5 / 2)  # small logits, so that the first loss is close to ln(classes)
        return float((2.0 / parameter[0].numel()) ** 0.5)


class _Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(8, before), nn.GroupNorm(8, width)
        self.conv_1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.skip = nn.Conv2d(before, width, 1, stride=stride, bias=False) if stride > 1 or before != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_1(functional.relu(self.norm_1(x)))
        return self.skip(x) + self.conv_2(functional.relu(self.norm_2(inner)))  # type: ignore[no-any-return]
