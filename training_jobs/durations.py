"""Durations with units, such as `90s` or `1h30m`: conversion to seconds and back, and the pydantic field type."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from ..problems import Problem, show

__all__ = ["Duration", "duration", "seconds"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+d)?(\d+h)?(\d+m)?(\d+s)?")


def seconds(value: object) -> int:
    """Convert a duration with units (`90s`, `10m`, `12h`, `1d`, `1h30m`) to seconds. Raises ValueError for anything else."""
    allowed = 'a number with a unit: "90s", "10m", "12h", "1d", "1h30m"'
    if isinstance(value, bool) or not isinstance(value, str):
        raise ValueError(Problem("", "not a duration", show(value), allowed))
    match = _DURATION.fullmatch(value.strip())
    if not match or not any(match.groups()):
        raise ValueError(Problem("", "not a duration", show(value), allowed))
    total = sum(int(part[:-1]) * _UNITS[part[-1]] for part in match.groups() if part)
    if total == 0:
        raise ValueError(Problem("", "a duration must be longer than zero", show(value), allowed))
    return total


def duration(total: float) -> str:
    """Convert seconds to a duration with units: 5400 -> `1h30m`."""
    rest, parts = int(total), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    int,
    BeforeValidator(seconds),
    PlainSerializer(duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$", "examples": ["90s", "1h30m"]}),
]
