"""A canary: a deliberately bad resource. If the scanner does not refuse it, it does not see that type at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Canary(NamedTuple):
    """A bad resource and the rules that must fail. `on`: where Checkov reports them, if not on the resource itself."""

    token: str
    rules: tuple[str, ...]
    inputs: Mapping[str, Any]
    on: tuple[str, str] | None = None
