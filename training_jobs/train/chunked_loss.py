"""The cross-entropy of a language model, computed in chunks of tokens: the whole matrix of logits is never in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # a target that does not count
_CHUNK_LOGITS = 2**28  # largest number of logits in memory: 1 GiB in fp32
LossAndSlope = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def chunked_loss(x: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0, between: LossAndSlope | None = None) -> Tensor:
    """Return the sum of the cross-entropies in fp32 without storing the whole matrix of logits.

    torch's linear_cross_entropy is not used, because it sums in the input's type, and bf16 has about three decimal digits. With
    reduction="none" it computes the product with the output matrix twice.
    """
    total: Tensor = _ChunkedLoss.apply(x, weight, targets, smoothing, torch.is_grad_enabled(), between or loss_and_slope)
    return total


class _ChunkedLoss(torch.autograd.Function):
    """Compute the loss and its gradients in chunks of tokens. All chunks together cost three products with the output matrix."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, smoothing: float, differentiate: bool, between: LossAndSlope
    ) -> Tensor:
        used, rows = weight.to(x.dtype), _chunk_rows(len(x), max(_CHUNK_LOGITS // len(weight), 1))
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        x_gradient = torch.empty_like(x)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)  # summed over the chunks
        for part, part_targets, part_gradient in zip(*(torch.split(whole, rows) for whole in (x, targets, x_gradient)), strict=True):
            loss, slope = between(part @ used.T, part_targets, smoothing)
            total += loss
            if differentiate:
                slope = slope.to(x.dtype)
                part_gradient.copy_(slope @ used)
                weight_gradient += slope.T @ part
        ctx.save_for_backward(x_gradient, weight_gradient)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        x_gradient, weight_gradient = ctx.saved_tensors
        return x_gradient * scale, (weight_gradient * scale).to(ctx.weight_dtype), None, None, None, None


def _chunk_rows(rows: int, most: int) -> int:
    """Return the number of rows of a chunk: the largest divisor of `rows` above `most / 2` and at most `most`, or `most` without one.

    With a divisor, all chunks have the same shape, so that they are compiled once.
    """
    return next((size for size in range(min(most, rows), max(most // 2, 1), -1) if rows % size == 0), min(most, rows))


def loss_and_slope(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the sum of the cross-entropies and its gradient with respect to the logits, both in fp32."""
    scores, counted, places = logits.float(), targets != IGNORED, targets.clamp(min=0)[:, None]
    norm = scores.logsumexp(1, keepdim=True)
    loss = norm - (1.0 - smoothing) * scores.gather(1, places)
    slope = (scores - norm).exp_()
    if smoothing:
        loss = loss - smoothing * scores.mean(1, keepdim=True)
        slope -= smoothing / scores.shape[1]
    slope.scatter_(1, places, slope.gather(1, places) - (1.0 - smoothing))
    return loss.squeeze(1).where(counted, 0.0).sum(), slope.mul_(counted[:, None])
