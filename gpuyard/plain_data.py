"""Types of plain data: JSON documents, request bodies, and the arguments of specs and resources.

The values are `Any` on purpose: a pydantic model, an SDK's own types or the service checks them, not the type checker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["PlainDict", "PlainMapping"]

PlainDict: TypeAlias = dict[str, Any]
PlainMapping: TypeAlias = Mapping[str, Any]
