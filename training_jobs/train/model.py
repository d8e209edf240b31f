"""A GPT with pre-norm blocks, rotary positions, normalised queries and keys, and no biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from .attention import Mask, attend, document_ids, document_mask
from .chunked_loss import IGNORED, LossAndSlope, chunked_loss, loss_and_slope
from .config import Config


def padded_vocab(vocab: int) -> int:
    """Round the vocabulary up to a multiple of 128, which is fast on tensor cores."""
    return -(-vocab // 128) * 128


class LanguageModel(nn.Module):
    """Base class of the language models: maps tokens and their next tokens to the sum of the losses."""

    embedding: nn.Embedding
    blocks: nn.ModuleList
    norm: nn.Module
    head: nn.Linear | None  # None: tied to the embedding
    cos: Tensor
    sin: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vocab, self.chunked, self.smoothing = config.vocab, config.loss == "chunked", config.label_smoothing
        self.loss_and_slope: LossAndSlope = loss_and_slope
        self.end_token: int | None = None  # the token that ends a document, to mask attention by document
        self.compiled = config.compile not in ("off", "auto")

    @property
    def head_weight(self) -> Tensor:
        """The output matrix: the embedding if both are tied, else a separate matrix."""
        return self.embedding.weight if self.head is None else self.head.weight

    def set_rotation(self, length: int, speeds: Tensor) -> None:
        """Compute the angles of the rotary positions. They are constants and not saved."""
        angle = torch.outer(torch.arange(length, device="cpu").float(), speeds)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the cross-entropies in nats."""
        x = self._features(tokens)
        weight, smoothing = self.head_weight, self.smoothing if self.training else 0.0
        if self.chunked:
            return chunked_loss(x.flatten(0, 1), weight, targets.flatten(), smoothing, self.loss_and_slope)
        logits = functional.linear(x, weight).float().flatten(0, 1)
        return functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next token at each position, without the vocabulary's padding."""
        return functional.linear(self._features(tokens), self.head_weight)[..., : self.vocab].float()

    def _features(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embedding(tokens)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # the residual stream too, not only the products inside the blocks
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        flex, more = tokens.device.type == "cuda" and self.compiled, list[Mask]()
        if self.end_token is not None:
            more = [document_mask(document_ids(tokens, self.end_token), flex)]
        for block in self.blocks:
            x = block(x, cos, sin, *more)
        normed: Tensor = self.norm(x)
        return normed


class Gpt(LanguageModel):
    """The GPT of the presets. The matrices of its vocabulary are padded to a multiple of 128."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(padded_vocab(config.vocab), config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = _Norm(config.width)
        self.head = None if config.tied == "on" else nn.Linear(config.width, padded_vocab(config.vocab), bias=False)
        width = config.width // config.heads
        self.set_rotation(config.context, 1.0 / 10_000 ** (torch.arange(0, width, 2, device="cpu").float() / width))

    def init_std(self, name: str, parameter: Tensor) -> float | None:
        """Return a parameter's initial standard deviation; None = all ones.

        Projections back to the residual stream start at zero. The head starts with logits of variance 1/4 at any width, so the
        first loss is ln(vocabulary) + 1/8.
        """
        if "norm" in name:
            return None
        if name.endswith(("out.weight", "down.weight")):
            return 0.0
        if name.startswith("embedding"):
            return 0.05 if self.head is not None else tied_std(parameter)
        return float(parameter.shape[1] ** -0.5 / 2)


def tied_std(embedding: Tensor) -> float:
    """Return the standard deviation of an embedding that is also the head.

    At the start each token predicts itself with a logit of std x width, here at most 4. On random tokens the first loss is at most 4.5 %
    above ln(256), and closer to ln(vocabulary) for larger ones. Where a token equals the token before, the loss starts at 1.7. So gpt_tiny
    starts 9 to 11 % below ln(256) on its own text, where 21 % of the bytes repeat, mostly spaces. On the other bytes it starts 4.7 % above.
    Starts closer to ln(256) learn more slowly. README.md has the losses.
    """
    return min(0.05, 4.0 / embedding.shape[1])


class _Norm(nn.Module):
    """RMSNorm in the input's type. A weight of another type would prevent the fused kernel, and CUDA's autocast would return fp32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype)).to(x.dtype)


class _Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.dropout, self.recompute = config.heads, config.dropout, config.recompute
        self.norm_1, self.norm_2 = _Norm(config.width), _Norm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.up = nn.Linear(config.width, 4 * config.width, bias=False)
        self.down = nn.Linear(4 * config.width, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask | None = None) -> Tensor:
        return recomputed(self._work, self.recompute if self.training else "none", x, cos, sin, mask)

    def _work(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask | None) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm_1(x)).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k = (functional.rms_norm(rotate(part, cos, sin), part.shape[-1:]).to(v.dtype) for part in (q, k))
        attended = attend(q, k, v, mask)
        x = x + self._drop(self.out(attended.transpose(1, 2).reshape(batch, length, width)))
        return x + self._drop(self.down(functional.relu(self.up(self.norm_2(x))).square()))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def recomputed(work: Callable[..., Tensor], how: str, *given: Any) -> Tensor:
    """Run a block with activation checkpointing: `how` is none, selective or block. It works with torch.compile and FSDP2."""
    if how == "none":
        return work(*given)
    more: dict[str, Any] = {"context_fn": _keep_products} if how == "selective" else {}
    done: Tensor = checkpoint(work, *given, use_reentrant=False, **more)
    return done


def _keep_products() -> Any:
    """Return the policy for selective checkpointing: keep matrix products and attention, recompute the rest, which is cheap."""
    aten: Any = torch.ops.aten
    attention = ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
    kept = [aten.mm.default, *(getattr(aten, f"_scaled_dot_product_{name}").default for name in attention)]
    return create_selective_checkpoint_contexts(kept)  # type: ignore[no-untyped-call]


def compile_loss(model: nn.Module) -> None:
    """Compile the operations between the chunked loss's matrix products. Then the logits are read once, not about ten times."""
    if isinstance(model, LanguageModel):
        model.loss_and_slope = torch.compile(loss_and_slope, dynamic=False)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (i, i + half) of each head by the angles of its position, in fp32."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def initialise(model: nn.Module, seed: int) -> None:
    """Initialise the parameters from the seed and their names. The values are equal for any number of ranks, whole or sharded."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    rule: Any = model.init_std
    for index, (name, parameter) in enumerate(model.named_parameters()):
        std = rule(name, parameter)
        whole = torch.ones(parameter.shape, device=parameter.device)
        if std is not None:
            generator = torch.Generator(parameter.device).manual_seed(seed * 1_000_003 + index)
            whole = whole.normal_(0.0, std, generator=generator) if std else whole.zero_()
        with torch.no_grad():
            if isinstance(parameter, DTensor):
                parameter.copy_(distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None))
            else:
                parameter.copy_(whole)
