"""Azure Resource Manager's types: the path of each, and the levels of `properties` that the SDK omits (azure_types.json)."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def document() -> Mapping[str, Any]:
    """Return the file: `types` by type token, `head`: the keys beside `properties`, `nested`: the classes that also have `properties`."""
    read: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return read


def table() -> Mapping[str, Any]:
    """Return by type token: `arm` (the type, or None), `api` version, and `path`, the properties that form the id."""
    types: Mapping[str, Any] = document()["types"]
    return types
