"""The plan's rules for each cloud's resources: one PlanRules per cloud."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import aws, azure, gcp
from .base import PlanRules, RawCheck, RootDisk, Standing

__all__ = ["CLOUDS", "PlanRules", "RawCheck", "RootDisk", "Standing"]

CLOUDS: Mapping[str, PlanRules] = MappingProxyType({"aws": aws.RULES, "azure": azure.RULES, "gcp": gcp.RULES})
