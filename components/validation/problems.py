"""A pydantic validation error as text for people: every problem with what was got, what is allowed and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def lines(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """All problems of `error`, a line each."""
    return [_line(item, model) for item in error.errors(include_url=False)]


def told(subject: str, problems: Sequence[str]) -> str:
    """The problems, one a line, under a line that names the subject."""
    head = f"{subject}: {len(problems)} problem{'s' if len(problems) > 1 else ''}, nothing was changed"
    return "\n".join([head, *(f"  - {problem}" for problem in problems)])


def _line(item: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    fields = model.model_fields
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(fields), n=1)
        fix = f"did you mean '{near[0]}'?" if near else "remove it"
        return f"{key}: unknown key, allowed: {', '.join(sorted(fields))}; {fix}"
    description = fields[key].description if key in fields else None
    if item["type"] == "missing":
        return f"{key}: required, not given; give it ({description})"
    got = "(hidden)" if item["loc"][0] == "secrets" else "nothing" if item["input"] is None else repr(item["input"])
    allowed = str(item["msg"]).removeprefix("Input should be ")
    return f"{key}: got {got[:80]}, allowed: {allowed}" + (f"; {description}" if description else "")
