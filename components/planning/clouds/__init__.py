"""How the plan reads each cloud: a row for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import aws, azure, gcp
from .base import CloudRules, Look, Standing

__all__ = ["CLOUDS", "CloudRules", "Look", "Standing"]

CLOUDS: Mapping[str, CloudRules] = MappingProxyType({"aws": aws.RULES, "azure": azure.RULES, "gcp": gcp.RULES})
