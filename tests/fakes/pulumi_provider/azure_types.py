"""Azure Resource Manager's types: the path of each, and the levels of `properties` that the SDK omits (azure_types.json)."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def document() -> Mapping[str, Any]:
    """Return the content of azure_types.json.

    `types`: type token -> type. `head`: the keys beside `properties`. `nested`: the classes that have `properties` too.
    """
    read: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return read


def table() -> Mapping[str, Any]:
    """Return type token -> `arm` (Azure's name of the type, or None), `api` (its version), and `path` (the properties that form the id)."""
    types: Mapping[str, Any] = document()["types"]
    return types
