"""Clients, credentials and error tables of each cloud, shared by the backends and the stores."""

from __future__ import annotations

from typing import TypeAlias

from ...plain_data import PlainDict

__all__ = ["Json"]

Json: TypeAlias = PlainDict
"""One JSON object of a service's API; its values have any JSON type."""
