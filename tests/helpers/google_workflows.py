"""Runs a workflow of Google Cloud: the steps that gpuyard uses (cloud.google.com/workflows/docs/reference/syntax, 2026-12-01).

A step, argument or function that is not known here fails.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

__all__ = ["run_workflow"]

Call = Callable[[str, Mapping[str, Any]], Any]
_STEP = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")


class _Fields(dict[str, Any]):
    """A map whose keys are read with a dot."""

    def __getattr__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return self[key]


def run_workflow(definition: Mapping[str, Any], call: Call, now: float) -> None:
    """Run the workflow's main steps. `call`: gets a call's name and arguments, and returns its result. `now`: Unix time."""
    assert set(definition) == {"main"}
    _run(definition["main"]["steps"], {}, call, _functions(now))


def _run(steps: Sequence[Mapping[str, Any]], variables: dict[str, Any], call: Call, functions: Mapping[str, Any]) -> bool:
    """Return whether a step ended the workflow."""
    for step in steps:
        [(name, body)] = step.items()
        assert _STEP.fullmatch(name), name
        if "call" in body:
            assert set(body) <= {"call", "args", "result"}
            answer = _fields(call(body["call"], _value(body["args"], variables, functions)))
            variables[body.get("result", "_")] = answer
        elif "assign" in body:
            for row in body["assign"]:
                [(key, value)] = row.items()
                variables[key] = _value(value, variables, functions)
        elif "for" in body:
            loop = body["for"]
            assert set(loop) == {"value", "in", "steps"}
            for item in _value(loop["in"], variables, functions):
                variables[loop["value"]] = item
                if _run(loop["steps"], variables, call, functions):
                    return True
        elif _switch(body, variables, call, functions):
            return True
    return False


def _switch(body: Mapping[str, Any], variables: dict[str, Any], call: Call, functions: Mapping[str, Any]) -> bool:
    assert set(body) == {"switch"}
    for case in body["switch"]:
        if _value(case["condition"], variables, functions):
            if "steps" in case:
                return _run(case["steps"], variables, call, functions)
            assert case["next"] == "end"
            return True
    return False


def _value(value: Any, variables: Mapping[str, Any], functions: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _value(each, variables, functions) for key, each in value.items()}
    if isinstance(value, str) and value.startswith("${"):
        assert value.endswith("}")
        # the expressions of gpuyard's workflow are valid Python too
        return eval(value[2:-1], {"__builtins__": {}}, {**functions, **variables})  # noqa: S307
    return value


def _fields(value: Any) -> Any:
    if isinstance(value, dict):
        return _Fields({key: _fields(each) for key, each in value.items()})
    return [_fields(each) for each in value] if isinstance(value, list) else value


def _functions(now: float) -> dict[str, Any]:
    return {
        "default": lambda value, other: other if value is None else value,
        "list": SimpleNamespace(concat=lambda items, item: [*items, item]),
        "map": SimpleNamespace(get=_get),
        "sys": SimpleNamespace(now=lambda: now),
        "time": SimpleNamespace(parse=lambda text: datetime.datetime.fromisoformat(text).timestamp()),
    }


def _get(found: Any, keys: str | list[str]) -> Any:
    """Return the value below the keys; None where one is missing."""
    for key in [keys] if isinstance(keys, str) else keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found
