"""The plan's text layout: lines of at most 100 columns, aligned columns, short type tokens, amounts of money."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence

from .document import Amount

__all__ = ["WIDTH", "columns", "hours", "rate", "short_tokens", "whole", "wrapped"]

WIDTH = 100
_TOKEN = re.compile(r"\b([a-z][a-z0-9-]*):([A-Za-z0-9]+)(?:/[A-Za-z0-9]+)?:([A-Za-z][A-Za-z0-9]*)\b")


def wrapped(line: str, hanging: int) -> list[str]:
    """Cut a line at spaces into lines of at most WIDTH columns. All lines after the first are indented by `hanging` more spaces."""
    indent = " " * (len(line) - len(line.lstrip()))
    return _lines(line.strip(), WIDTH, indent, indent + " " * hanging)


def columns(rows: Sequence[Sequence[str]], *, wrap: int, right: int = 0) -> list[str]:
    """Return the rows as lines of aligned columns. The last `right` columns are right-aligned.

    If a row is longer than WIDTH, its cell in column `wrap` continues on the next lines.
    """
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    others = sum(width for column, width in enumerate(widths) if column != wrap) + 2 * (len(widths) - 1)
    widths[wrap] = min(widths[wrap], max(WIDTH - others, 20))
    numbers = range(len(widths) - right, len(widths))
    return [line for row in rows for line in _row(row, widths, wrap, numbers)]


def _row(row: Sequence[str], widths: Sequence[int], wrap: int, numbers: range) -> Iterator[str]:
    first, *rest = _lines(row[wrap], widths[wrap])
    cells = [first if column == wrap else cell for column, cell in enumerate(row)]
    padded = [cell.rjust(widths[column]) if column in numbers else cell.ljust(widths[column]) for column, cell in enumerate(cells)]
    yield "  ".join(padded).rstrip()
    left = sum(widths[:wrap]) + 2 * wrap
    yield from (" " * left + line for line in rest)


def _lines(text: str, width: int, indent: str = "", later: str = "") -> list[str]:
    wrapper = textwrap.TextWrapper(
        max(width, 1),
        initial_indent=indent,
        subsequent_indent=later,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(text) or [""]


def short_tokens(text: str) -> str:
    """Return the text with Pulumi's type tokens as Python writes them: aws:ec2/subnet:Subnet becomes aws.ec2.Subnet."""
    return _TOKEN.sub(lambda token: ".".join(part for part in token.groups() if part != "index"), text)


def rate(amount: Amount) -> str:
    """Return USD per hour as text: 9.20, or <=4.60 or >=4.60 if only a bound is known, or unknown."""
    return _bounds(amount, ".2f")


def whole(amount: Amount) -> str:
    """Return USD without cents as text, with <= or >= as in `rate`."""
    return _bounds(amount, ",.0f")


def hours(amount: Amount) -> str:
    """Return whole hours, rounded down, as text; with `>=` if some prices are unknown."""
    least = math.floor(amount.low)
    return f"{least:,} h" if amount.low == amount.high else f">={least:,} h" if least else "unknown hours"


def _bounds(amount: Amount, form: str) -> str:
    if amount.high is None:
        return f">={amount.low:{form}}" if amount.low else "unknown"
    return f"{amount.high:{form}}" if amount.low == amount.high else f"<={amount.high:{form}}"
