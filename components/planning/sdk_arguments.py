"""Check the arguments of recorded resources against the names and types in the installed SDK."""

from __future__ import annotations

import collections.abc
import contextlib
import difflib
import inspect
import sys
import time
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any

import pulumi
from pulumi import _types
from pulumi.runtime import rpc

from ...plain_data import PlainDict

__all__ = ["plain", "wrong_arguments"]

_WRAPPERS = (collections.abc.Awaitable, pulumi.Output)
_TRIES, _PAUSE_S = 100, 0.1
_TYPE_NAMES = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}


def wrong_arguments(token: str, given: Mapping[str, object]) -> list[str]:
    """Return a message for each argument that the resource's class in the SDK does not accept: `key: got ..., allowed: ...`.

    A type whose SDK is not loaded, such as a dynamic resource, is not checked.
    """
    arguments = _arguments(token)
    return [] if arguments is None else list(_check(dict(given), arguments, ""))


@cache
def _arguments(token: str) -> type | None:
    """Return the class of a resource's arguments. The SDK registers its modules at import."""
    package, module, _ = token.split(":")
    registered: Any = rpc.get_resource_module(package, module, "")
    known = getattr(registered, "mod_info", None)
    if known is None or token not in known["classes"]:
        return None
    kind = getattr(sys.modules.get(known["fqn"]), known["classes"][token], None)
    if kind is None:
        return None
    home = sys.modules[kind.__module__]
    # if a nested type already has the name (s3.BucketVersioningArgs), the class of the resource's arguments ends in InitArgs
    found = getattr(home, f"{kind.__name__}InitArgs", None) or getattr(home, f"{kind.__name__}Args", None)
    return found if isinstance(found, type) and _types.is_input_type(found) else None


def _check(value: object, hint: Any, path: str) -> Iterator[str]:
    value = plain(value)
    if value is None or isinstance(value, pulumi.output.Unknown | pulumi.Asset | pulumi.Archive):
        return
    choices = _choices(hint)
    if not choices or any(choice is Any for choice in choices):
        return
    found = [list(_check_one(value, choice, path)) for choice in choices]
    if all(found):
        yield from min(found, key=len)


def _check_one(value: object, hint: Any, path: str) -> Iterator[str]:
    origin, below = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and _types.is_input_type(hint):
        yield from _check_object(value, hint, path)
    elif origin is not None and issubclass(origin, collections.abc.Mapping):
        yield from _elements(value, dict, "a mapping", below[-1], path)
    elif origin is not None and issubclass(origin, collections.abc.Sequence):
        yield from _elements(value, list, "a list", below[-1], path)
    elif isinstance(hint, type) and not _fits(value, hint):
        yield f"{path}: got {value!r}, allowed: {_TYPE_NAMES.get(hint, hint.__name__)}"


def _check_object(value: object, hint: type, path: str) -> Iterator[str]:
    known = _fields(hint)
    if not isinstance(value, dict):
        yield f"{path}: got {value!r}, allowed: a mapping with {', '.join(sorted(known))}"
        return
    for key, entry in value.items():
        here = f"{path}.{key}" if path else key
        if key in known:
            yield from _check(entry, known[key], here)
        elif not key.startswith("__"):
            near = difflib.get_close_matches(key, known, n=1)
            yield f"{here}: unknown argument, allowed: {', '.join(sorted(known))}" + (f"; did you mean {near[0]}?" if near else "")
    for name in _required(hint) if path else ():  # at the top level Python itself raises TypeError
        if value.get(name) is None:
            yield f"{path}.{name}: required argument is missing"


def _fields(hint: type) -> PlainDict:
    """Return the fields of a type. Retry, because another thread may be loading the SDK's module at the same time."""
    for _ in range(_TRIES):
        with contextlib.suppress(AttributeError):
            return dict(_types.input_type_types(hint))
        time.sleep(_PAUSE_S)
    return dict(_types.input_type_types(hint))


@cache
def _required(hint: type) -> tuple[str, ...]:
    """Return the schema names of a nested type's required arguments."""
    names = _types.input_type_py_to_pulumi_names(hint)
    given = inspect.signature(hint).parameters.values()
    return tuple(names[each.name] for each in given if each.name in names and each.default is each.empty)


def _elements(value: object, kind: type, expected: str, hint: Any, path: str) -> Iterator[str]:
    if not isinstance(value, kind):
        yield f"{path}: got {value!r}, allowed: {expected}"
        return
    entries: Any = value
    for key, entry in dict(entries if kind is dict else enumerate(entries)).items():
        yield from _check(entry, hint, f"{path}.{key}")


def _choices(hint: Any) -> list[Any]:
    """Return the types that a hint allows, except Awaitable, Output, None and the TypedDict forms of argument classes."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return [hint]
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    kept = [part for part in parts if not (isinstance(_class(part), type) and issubclass(_class(part), _WRAPPERS))]
    return [part for part in kept if not typing.is_typeddict(part)]


def _class(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _fits(value: object, kind: type) -> bool:
    if issubclass(kind, Enum):
        return isinstance(value, str | int | float)
    if kind in (int, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and (kind is float or float(value).is_integer())
    if issubclass(kind, pulumi.Asset | pulumi.Archive):
        return False  # assets and archives never come here
    return isinstance(value, kind) if kind in (str, bool) else True


def plain(value: Any) -> Any:
    """Return a value without its secret wrapper."""
    return rpc.unwrap_rpc_secret(value) if rpc.is_rpc_secret(value) else value
