"""The part of a job service that is the same on every cloud."""

from __future__ import annotations

from typing import Any

import pulumi

from .base import Component

__all__ = ["JobServiceBase"]


class JobServiceBase(Component):
    """Turn pools and buckets into job targets; a cloud's JobService adds queues, identities and grants."""

    targets: pulumi.Output[dict[str, Any]]
    """{pool: JobTarget v1} as plain data, without the pools that take no jobs."""
    submitter_role: pulumi.Output[str] | None = None
    """Identity of the pipelines in `submitters`; None without submitters."""

    @property
    def exports(self) -> dict[str, pulumi.Output[str]]:
        """Return what a stack exports beside `job_targets`, by export name."""
        return {} if self.submitter_role is None else {"submitter_role": self.submitter_role}
