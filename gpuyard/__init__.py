"""Declare a GPU training yard with Pulumi and run distributed PyTorch jobs on it.

    from gpuyard import JobSpec, Runner                                # submit and watch jobs
    from gpuyard.aws import Bucket, GpuPool, JobService, Network       # declare a yard (also .gcp, .azure, .local)

Importing this package loads no cloud SDK, no Pulumi and no torch. A module loads when you first use a name from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .components.lazy import lazy_names

if TYPE_CHECKING:
    from .components.stack_targets import job_targets
    from .training_jobs.errors import GpuyardError, UsageError
    from .training_jobs.runner import Runner, Submitted
    from .training_jobs.spec import JobSpec, load_job
    from .training_jobs.state import Exit, Reason, State
    from .training_jobs.status import RunStatus
    from .training_jobs.target import JobTarget, parse_target, parse_targets

__all__ = [
    "Exit",
    "GpuyardError",
    "JobSpec",
    "JobTarget",
    "Reason",
    "RunStatus",
    "Runner",
    "State",
    "Submitted",
    "UsageError",
    "job_targets",
    "load_job",
    "parse_target",
    "parse_targets",
]

_HOMES = {
    "Exit": ".training_jobs.state",
    "GpuyardError": ".training_jobs.errors",
    "JobSpec": ".training_jobs.spec",
    "JobTarget": ".training_jobs.target",
    "Reason": ".training_jobs.state",
    "RunStatus": ".training_jobs.status",
    "Runner": ".training_jobs.runner",
    "State": ".training_jobs.state",
    "Submitted": ".training_jobs.runner",
    "UsageError": ".training_jobs.errors",
    "job_targets": ".components.stack_targets",
    "load_job": ".training_jobs.spec",
    "parse_target": ".training_jobs.target",
    "parse_targets": ".training_jobs.target",
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
