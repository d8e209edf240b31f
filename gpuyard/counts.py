"""Numbers with their nouns: "1 node", "2 nodes"."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int | None, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun; None becomes `?`. `plural`: needed if the plural does not end in -s or -es.

    >>> counted(1, "node"), counted(1200, "address"), counted(None, "node")
    ('1 node', '1,200 addresses', '? nodes')
    """
    if number == 1:
        return f"1 {noun}"
    return f"{'?' if number is None else f'{number:,}'} {plural or noun + ('es' if noun.endswith('s') else 's')}"
