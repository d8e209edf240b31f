"""Types of plain data: JSON documents, request bodies, and the arguments of specs and resources.

The values are `Any` on purpose. The type checker does not check them: pydantic, an SDK or a service does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = ["PlainDict", "PlainMapping"]

PlainDict: TypeAlias = dict[str, Any]
PlainMapping: TypeAlias = Mapping[str, Any]
