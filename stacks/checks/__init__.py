"""Read-only checks of a stack with the user's own credentials: problems that would stop `pulumi up` or a submission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType

from gpuyard.components.planning.yard import RecordedYard
from gpuyard.training_jobs.target import JobTarget

from .check import Check, StackFacts

__all__ = ["CLOUDS", "Check", "StackFacts", "stack_checks"]

CLOUDS: Mapping[str, str] = MappingProxyType({"aws": ".aws", "azure": ".azure", "gcp": ".gcp"})
"""Cloud -> module with its checks. The function `checks` of the module takes StackFacts."""


def stack_checks(yard: RecordedYard, config: Mapping[str, str], targets: Mapping[str, JobTarget] | None) -> Iterator[Check]:
    """Yield the checks of every cloud of the stack. `targets`: the stack's job targets; None: the stack is not up."""
    facts = StackFacts(yard, config, targets)
    for cloud in yard.clouds:
        if cloud in CLOUDS:
            yield from import_module(CLOUDS[cloud], __package__).checks(facts)
