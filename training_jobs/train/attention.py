"""Causal attention, optionally with a document mask: a token attends only to earlier tokens of its own document.

On a GPU the mask is FlexAttention's block mask, and masked blocks are skipped. On a CPU it is a matrix of booleans. A test compares
the two forward passes on a CPU. FlexAttention's backward pass needs a GPU and has not been run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Mask: TypeAlias = "Tensor | BlockMask"  # a text, because importing FlexAttention takes each rank 0.4 s


def document_ids(tokens: Tensor, end: int) -> Tensor:
    """Return the number of each token's document within its window. The token `end` is the last token of its document."""
    ends = tokens == end
    return ends.cumsum(1) - ends.long()


def document_mask(documents: Tensor, flex: bool) -> Mask:
    """Return the attention mask for these documents: FlexAttention's block mask if `flex`, else booleans."""
    batch, length = documents.shape
    if not flex:
        return (documents[:, :, None] == documents[:, None, :]).tril()[:, None]

    from torch.nn.attention.flex_attention import create_block_mask

    def allowed(window: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (documents[window, query] == documents[window, key])

    return create_block_mask(allowed, batch, None, length, length, device=documents.device)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
    """Compute causal attention. Keys and values may have fewer heads than queries."""
    grouped = q.shape[1] != k.shape[1]
    if mask is None:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    if isinstance(mask, Tensor):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)
    from torch.nn.attention.flex_attention import flex_attention

    attended = flex_attention(q, k, v, block_mask=mask, enable_gqa=grouped)
    assert isinstance(attended, Tensor)  # noqa: S101 for types: no auxiliary output is requested
    return attended
