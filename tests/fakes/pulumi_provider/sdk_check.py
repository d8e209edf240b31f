"""Checks the names and types of resources' inputs, also of nested ones, against the installed SDK. Inputs are in the engine's wire form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.pulumi_provider.sdk_schema import Kind, Property, UnknownToken, fields, look_up, members, resource

__all__ = ["SECRET", "SIGNATURE", "UNKNOWN", "Kind", "UnknownToken", "fields", "look_up", "plain", "problems", "resource"]

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # the protocol's marker of an unknown value
SIGNATURE = "4dabf18193072939515e22adb298388d"  # the key that marks a secret, an asset or an archive
SECRET = "1b47061264138c4ac30d75fd1eb44270"
_ASSETS = ("c44067f5952c0a294b673a41bacd8c17", "0def7320c3a5731c473e5ecbe6d01bc7")
_PLAIN: Mapping[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int, float), "float": (int, float)}


def problems(token: str, values: Mapping[str, Any]) -> list[str]:
    """Return everything that the SDK's types refuse in a resource's inputs. Unknown values pass. Secrets are checked inside."""
    return list(_object_problems(resource(token).inputs, values, ""))


def plain(value: Any) -> Any:
    """Return a value without its secret wrappers."""
    if isinstance(value, Mapping):
        if value.get(SIGNATURE) == SECRET:
            return plain(value["value"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _object_problems(known: Mapping[str, Property], values: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, each in known.items():
        if each.required and values.get(name) is None:
            yield f"{path}{name}: required"
    for name, value in values.items():
        if name == "__defaults":
            continue
        if name not in known:
            yield f"{path}{name}: no such property; there are {', '.join(sorted(known))}"
        else:
            yield from _value_problems(known[name].kind, value, f"{path}{name}")


def _value_problems(kind: Kind, value: Any, path: str) -> Iterator[str]:
    value = value["value"] if isinstance(value, Mapping) and value.get(SIGNATURE) == SECRET else value
    if value is None or value == UNKNOWN or kind.word == "any":
        return
    if kind.word == "union":
        tried = [list(_value_problems(part, value, path)) for part in kind.parts]
        if all(tried):
            fitting = [found for part, found in zip(kind.parts, tried, strict=True) if _fits(part.word, value)]
            yield from min(fitting or tried, key=len)
        return
    if not _fits(kind.word, value):
        yield f"{path}: {kind.word} expected, got {type(value).__name__} {value!r:.80}"
    elif kind.word == "list":
        for index, item in enumerate(value):
            yield from _value_problems(kind.parts[0], item, f"{path}[{index}]")
    elif kind.word == "map":
        for key, item in value.items():
            yield from _value_problems(kind.parts[0], item, f"{path}.{key}")
    elif kind.word == "enum" and value not in members(kind.home, kind.name):
        yield f"{path}: got {value!r}, there are {', '.join(sorted(members(kind.home, kind.name)))}"
    elif kind.word == "object":
        yield from _object_problems(fields(kind.home, kind.name), value, f"{path}.")


def _fits(word: str, value: Any) -> bool:
    if word == "any":
        return True
    if word == "asset":
        return isinstance(value, Mapping) and value.get(SIGNATURE) in _ASSETS
    if word in ("object", "map"):
        return isinstance(value, Mapping)
    if word == "list":
        return isinstance(value, list)
    if word == "enum":
        return isinstance(value, str)
    if isinstance(value, bool) and word != "bool":
        return False
    return isinstance(value, _PLAIN[word]) and (word != "int" or not isinstance(value, float) or value.is_integer())
