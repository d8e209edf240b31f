"""Check values of a job that no service can use: endless durations, huge counts, and empty texts that would select a default."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import BaseModel

from ..problems import Problem, show
from .durations import duration

__all__ = ["out_of_bounds"]

_LONGEST_S = 366 * 86400
_MOST = 10_000  # attempts or checkpoints
_DURATIONS = {"timeout", "queue_timeout", "every"}
_COUNTS = {"keep", "preempted", "infra", "user_error"}
_DEFAULTS = {"pool", "image", "code"}


def out_of_bounds(field: str, value: object) -> Problem | None:
    """Return a problem for the value of a job's key, or for a value below it."""
    if isinstance(value, BaseModel):
        found = ((name, out_of_bounds(name, getattr(value, name))) for name in type(value).model_fields)
        return next((problem.under(name) for name, problem in found if problem), None)
    if field in _DEFAULTS and value == "":
        return Problem("", "empty", fix=f"write a value, or remove {field} to use the default")
    if field == "labels" and isinstance(value, Mapping) and "" in value:
        return Problem("", "a label without a name", fix="write a name")
    if not isinstance(value, int | float):
        return None
    if field in _DURATIONS and value > _LONGEST_S:
        return Problem("", "too long", duration(value), f"at most {duration(_LONGEST_S)}")
    if (field in _COUNTS and value > _MOST) or not math.isfinite(value):
        return Problem("", "too large", show(value), f"at most {_MOST}" if field in _COUNTS else "a finite number")
    return None
