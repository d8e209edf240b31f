"""The one type for input errors: key, what is wrong, value got, values allowed, fix. Every part of gpuyard uses it."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ValidationError

if typing.TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["Problem", "did_you_mean", "problems_from", "render_problems", "show"]

_SECRETS = "secrets"  # the field of a spec with references to secrets: users may write a secret's value there by mistake


@dataclass(frozen=True)
class Problem:
    """One input error. Its text is `<key>: <what is wrong>, got <value>, allowed: <values>; <fix>`.

    A pydantic validator raises `ValueError(Problem("", ...))`, or with one argument for each of several problems.
    `problems_from` puts the field's path in front of their keys.
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

    def under(self, parent: str) -> Problem:
        """Return the problem with its key below a parent key.

        >>> str(Problem("zone", "unknown zone").under("pools.l4"))
        'pools.l4.zone: unknown zone'
        """
        return replace(self, key=".".join(filter(None, (parent, self.key))))

    def without_value(self) -> Problem:
        """Return the problem with its value hidden, because it may be a secret."""
        return replace(self, got="(secret)") if self.got else self


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a fix that suggests the most similar known word, or None if no word is similar."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None


def show(value: object) -> str:
    """Return the text of a value in an error: at most 80 characters of its repr, or `nothing` for None."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def render_problems(heading: str, problems: Iterable[Problem]) -> str:
    """Return a heading, and below it one line for each problem."""
    return "\n".join([heading, *(f"  - {problem}" for problem in problems)])


def problems_from(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Convert each error of a pydantic validation. Keys begin with `prefix`. Values below the field `secrets` are hidden."""
    return [problem for item in error.errors(include_url=False) for problem in _problems(item, model, prefix)]


def _problems(item: ErrorDetails, model: type[BaseModel], prefix: str) -> list[Problem]:
    location = tuple(part for part in item["loc"] if not _is_noise(part))
    key = prefix + ".".join(str(part) for part in location)
    raised = getattr(item.get("ctx", {}).get("error"), "args", ())
    own = [argument.under(key) for argument in raised if isinstance(argument, Problem)]
    found = own or [_problem(item, model, location, key)]
    return [problem.without_value() for problem in found] if _SECRETS in location[:1] else found


def _problem(item: ErrorDetails, model: type[BaseModel], location: Sequence[object], key: str) -> Problem:
    """Convert a pydantic error that has no Problem. The field's description becomes the fix."""
    if item["type"] == "extra_forbidden":
        known = sorted(_fields_at(model, location[:-1]))
        fix = did_you_mean(str(location[-1]), known) or "remove it"
        return Problem(key, "unknown key", allowed=", ".join(known) or None, fix=fix)
    description = _describe(model, location)
    if item["type"] == "missing":
        return Problem(key, "required key is missing", fix=description)
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if item["type"] in {"value_error", "assertion_error"}:
        return Problem(key, message)
    if item["type"] == "string_type" and isinstance(item["input"], int | float) and not isinstance(item["input"], bool):
        return Problem(key, "a number where text belongs", show(item["input"]), fix=f'quote it: "{item["input"]}"')
    return Problem(key, "wrong value", show(item["input"]), message, description)


def _is_noise(part: object) -> bool:
    """Return whether a part of `loc` names a validator or a union branch of pydantic, not a key of the user."""
    return isinstance(part, str) and ("[" in part or "(" in part)


def _fields_at(model: type[BaseModel], path: Sequence[object]) -> set[str]:
    """Return the allowed keys at a path below a model. For a union of models, return the keys of all of them."""
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
    """Return the description of the field at a path below a model; None if the field has no description."""
    models: list[type[BaseModel]] = [model]
    description = None
    for part in location:
        fields = [c.model_fields[str(part)] for c in models if str(part) in c.model_fields]
        if fields:
            description = fields[0].description
            models = [found for field in fields for found in _models_in(field.annotation)]
    return description
