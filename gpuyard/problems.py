"""One mistake of a user: which key, the value got, the values allowed, the fix. Shared by all rooms."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ValidationError

__all__ = ["Problem", "did_you_mean", "problems_from", "show"]


@dataclass(frozen=True)
class Problem:
    """One mistake: which key, what is wrong with it, the value got, the values allowed, the fix.

    A pydantic validator raises `ValueError(Problem("", ...))`; `problems_from` fills in the key.
    """

    key: str
    what: str
    got: str | None = None
    allowed: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        parts = [f"{self.key}: {self.what}" if self.key else self.what]
        parts += [f"{word} {text}" for word, text in (("got", self.got), ("allowed:", self.allowed)) if text]
        line = ", ".join(parts)
        return f"{line}; {self.fix}" if self.fix else line


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A fix naming the nearest known word, or None when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None


def show(value: object) -> str:
    """A value as an error shows it: short, quoted, with its type where that is the mistake."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def problems_from(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Every mistake of a pydantic validation as a `Problem`, with did-you-mean for unknown keys."""
    return [_problem(item, model, prefix) for item in error.errors(include_url=False)]


def _problem(item: typing.Any, model: type[BaseModel], prefix: str) -> Problem:
    location = tuple(part for part in item["loc"] if not _is_noise(part))
    key = prefix + ".".join(str(part) for part in location)
    kind, got = item["type"], item.get("input")
    if kind == "extra_forbidden":
        known = sorted(_fields_at(model, location[:-1]))
        return Problem(
            key,
            "unknown key",
            allowed=", ".join(known) or None,
            fix=did_you_mean(str(location[-1]), known),
        )
    if kind == "missing":
        return Problem(key, "required key is missing", fix=_describe(model, location))
    raised = item.get("ctx", {}).get("error")
    if raised and raised.args and isinstance(raised.args[0], Problem):
        return replace(raised.args[0], key=".".join(filter(None, (key, raised.args[0].key))))
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind in {"value_error", "assertion_error"}:
        return Problem(key, message)
    shown = "nothing" if got is None else f"{show(got)} ({type(got).__name__})"
    return Problem(key, "wrong value", got=shown, allowed=message, fix=_describe(model, location))


def _is_noise(part: object) -> bool:
    """Pydantic names validators and union branches inside `loc`; users did not type those."""
    return isinstance(part, str) and ("[" in part or "(" in part)


def _fields_at(model: type[BaseModel], path: Sequence[object]) -> set[str]:
    """The keys allowed at a path below a model (the union of all models that may stand there)."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        inner: list[type[BaseModel]] = []
        for candidate in models:
            field = candidate.model_fields.get(str(part))
            inner += _models_in(field.annotation) if field else [candidate]
        models = inner
    return {name for candidate in models for name in candidate.model_fields}


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for argument in typing.get_args(annotation) for found in _models_in(argument)]


def _describe(model: type[BaseModel], location: Sequence[object]) -> str | None:
    """The field's own description, as the hint of what belongs there."""
    models: list[type[BaseModel]] = [model]
    description = None
    for part in location:
        fields = [c.model_fields[str(part)] for c in models if str(part) in c.model_fields]
        if fields:
            description = fields[0].description
            models = [found for field in fields for found in _models_in(field.annotation)]
    return description
