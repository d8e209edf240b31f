"""How the plan reads raw resources: one row of rules for each cloud."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import aws, azure, gcp
from .base import CloudRules, RawCheck, Standing

__all__ = ["CLOUDS", "CloudRules", "RawCheck", "Standing"]

CLOUDS: Mapping[str, CloudRules] = MappingProxyType({"aws": aws.RULES, "azure": azure.RULES, "gcp": gcp.RULES})
