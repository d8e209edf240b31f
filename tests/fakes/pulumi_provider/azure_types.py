"""The types of Azure Resource Manager: each one's path there, and where `properties` are that the SDK leaves out (azure_types.json)."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def document() -> Mapping[str, Any]:
    """The file: `types` by type token, `head` what stands beside `properties`, `nested` the classes that have `properties` too."""
    read: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return read


def table() -> Mapping[str, Any]:
    """Type token -> `arm`, its type (None: none of the manager's), API `version`, and `path`, the properties that are in its id."""
    types: Mapping[str, Any] = document()["types"]
    return types
