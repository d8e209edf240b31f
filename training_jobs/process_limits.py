"""Check that the operating system can pass a job's commands and variables to a process. This runs before a submit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ..problems import Problem

__all__ = ["unusable"]

_LONGEST_BYTES = 128 * 2**10 - 1
"""The longest argument or variable that Linux accepts (MAX_ARG_STRLEN in linux/binfmts.h, less the final NUL)."""
_MOST_BYTES = {"env": 2**20, "data": 2**19}
"""The size of all variables of a key together. Linux accepts 2 MiB of arguments and variables (a quarter of the usual stack limit)."""
_PREFIX = {"env": "", "data": "GPUYARD_DATA_"}
_LONGEST_COMMAND_BYTES = 120 * 2**10
"""The longest command. launch passes it to torchrun's agent in one JSON argument, which has about 1 KiB of other fields."""


def unusable(key: str, value: object) -> Problem | None:
    """Return a problem if a value cannot be passed to a process as argument or variable."""
    texts = list(_texts(value))
    if any("\0" in text for text in texts):
        return Problem("", "contains a NUL character, which no argument or variable may contain", fix="remove it")
    if any(not _is_unicode(text) for text in texts):
        return Problem("", "contains an unpaired surrogate, which is not valid text", fix="remove it")
    if key in ("command", "setup"):
        size, longest = len(json.dumps(value)), _LONGEST_COMMAND_BYTES
    elif key in _PREFIX and isinstance(value, dict):
        sizes = [len(f"{_PREFIX[key]}{name}={text}".encode()) for name, text in value.items()]
        size, longest = max(sizes, default=0), _LONGEST_BYTES
        if size <= longest:
            size, longest = sum(sizes), _MOST_BYTES[key]
    else:
        return None
    if size <= longest:
        return None
    return Problem("", "too long for a process", f"{size} bytes", f"<= {longest} bytes", "write it into a file of code: or data:")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
