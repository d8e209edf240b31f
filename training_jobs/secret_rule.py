"""Recognise secrets in a job, so that they are refused before they reach a request, a log or a record."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["has_secret_shape", "looks_secret", "split_marks"]

_SECRET_NAME = re.compile(r"(?i)(^|_)((password|passwd|secret)(_|$)|(token|api_?key|access_?key|private_?key|credentials?)$)")
_PLACE_NAME = re.compile(r"(?i)_(file|path|dir|url)$")
_PLACE = re.compile(r"^(~|\.{0,2}/|[a-z][a-z0-9+.-]*://)")
_MARKER = re.compile(r"<.*>|\[.*\]")  # a tokenizer's special token
_HARMLESS = {"", "0", "1", "true", "false"}
_SECRET_VALUE = re.compile(
    r"^(AKIA|ASIA)[A-Z0-9]{16}$|^gh[pousr]_\w{20,}|^github_pat_\w+|^sk-[\w-]{20,}|^hf_[A-Za-z0-9]{20,}|^xox[abprs]-|^eyJ[\w-]+\.eyJ|^AIza[\w-]{30,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]+:[^/\s@]+@"
)


def has_secret_shape(text: str) -> bool:
    """Return whether a text has the shape of a known kind of credential, such as an access key."""
    return _SECRET_VALUE.search(text) is not None


def looks_secret(name: str, value: str) -> bool:
    """Return whether a variable holds a secret, by the shape of its value or by its name."""
    if has_secret_shape(value):
        return True
    if not _SECRET_NAME.search(name) or value.lower() in _HARMLESS or _MARKER.fullmatch(value):
        return False
    if _PLACE.match(value) or (_PLACE_NAME.search(name) and "/" in value):
        return False
    return "password" in name.lower() or "secret" in name.lower() or len(value) >= 16


def split_marks(env: object) -> tuple[object, set[str]]:
    """Return an environment with each `{value: TEXT, secret: false}` replaced by TEXT, and the names of these variables."""
    if not isinstance(env, Mapping):
        return env, set()
    marked = {
        name for name, value in env.items() if isinstance(value, Mapping) and set(value) == {"value", "secret"} and value["secret"] is False
    }
    return {name: value["value"] if name in marked else value for name, value in env.items()}, marked
