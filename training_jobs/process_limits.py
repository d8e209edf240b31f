"""What the operating system gives no process: checked in a job before anything is paid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ..problems import Problem

__all__ = ["unusable"]

_LONGEST_BYTES = 128 * 2**10 - 1
"""Linux takes no longer argument or variable (MAX_ARG_STRLEN in linux/binfmts.h, less the final NUL)."""
_LONGEST_COMMAND_BYTES = 120 * 2**10
"""launch hands the command to torchrun's agent as one argument of JSON, beside about 1 KiB of its own."""


def unusable(key: str, value: object) -> Problem | None:
    """Return the problem of a value that no process could be given, before anything is paid."""
    texts = list(_texts(value))
    if any("\0" in text for text in texts):
        return Problem("", "holds a NUL character, which no argument or variable can", fix="remove it")
    if any(not _is_unicode(text) for text in texts):
        return Problem("", "holds half of a surrogate pair, which is no text", fix="remove it")
    if key in ("command", "setup"):
        size, longest = len(json.dumps(value)), _LONGEST_COMMAND_BYTES
    elif key == "env" and isinstance(value, dict):
        size, longest = max((len(f"{name}={text}".encode()) for name, text in value.items()), default=0), _LONGEST_BYTES
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
