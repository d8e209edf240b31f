"""Specs of a yard and its parts: frozen pydantic models for every cloud, importable without Pulumi."""

from __future__ import annotations

from .fields import Name, SecretReference, Spec, in_cloud
from .pool import GpuPoolSpec
from .submitter import SubmitterSpec
from .waiver import WaiverSpec
from .yard import BucketSpec, BudgetSpec, LimitsSpec, NetworkSpec, NotifySpec, PinsSpec, RepositorySpec, Shares, SshSpec, YardSpec

__all__ = [
    "BucketSpec",
    "BudgetSpec",
    "GpuPoolSpec",
    "LimitsSpec",
    "Name",
    "NetworkSpec",
    "NotifySpec",
    "PinsSpec",
    "RepositorySpec",
    "SecretReference",
    "Shares",
    "Spec",
    "SshSpec",
    "SubmitterSpec",
    "WaiverSpec",
    "YardSpec",
    "in_cloud",
]
