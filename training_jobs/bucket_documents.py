"""Parse JSON that an untrusted job may have written. Size, depth and number of values are limited."""

from __future__ import annotations

import json
import math

__all__ = ["MAX_BYTES", "parse_document"]

MAX_BYTES = 2**20
_MAX_DEPTH = 32
_MAX_VALUES = 20_000
_MAX_TEXT = 2**16


class _TooManyError(Exception):
    """The document has more than _MAX_VALUES values."""


def parse_document(data: bytes) -> dict[str, object] | None:
    """Parse a JSON object; None for anything else and for a document that is too large.

    Values that are nested too deeply become None. Long texts are cut, and invalid Unicode is replaced. Integers of more than 64 bits become
    floats.
    """
    if len(data) > MAX_BYTES:
        return None
    try:
        found = json.loads(data.decode("utf-8"))
        cleaned = _Cleaner().clean(found, 0)
    except (ValueError, RecursionError, _TooManyError):
        return None
    return cleaned if isinstance(cleaned, dict) else None


class _Cleaner:
    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def clean(self, value: object, depth: int) -> object:
        """Return a JSON value with long texts cut and too deep values set to None."""
        self._left -= 1
        if self._left < 0:
            raise _TooManyError
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, int) and value.bit_length() > 63:
            return float(value) if value.bit_length() < 1024 else math.copysign(math.inf, (value > 0) - 0.5)
        if isinstance(value, dict):
            return {_text(key): self.clean(each, depth + 1) for key, each in value.items()} if depth < _MAX_DEPTH else None
        if isinstance(value, list):
            return [self.clean(each, depth + 1) for each in value] if depth < _MAX_DEPTH else None
        return value


def _text(value: str) -> str:
    return value[:_MAX_TEXT].encode("utf-8", "replace").decode()
