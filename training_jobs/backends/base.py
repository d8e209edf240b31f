"""The interface of a service that runs jobs, and helpers that build requests for all services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ...plain_data import PlainDict
from ...problems import Problem
from ..errors import ConflictError, UsageError
from ..run import Run
from ..state import Reason, State

__all__ = [
    "BOOTSTRAP",
    "RUN_VARIABLES",
    "Backend",
    "Capacity",
    "LogLine",
    "Request",
    "ServiceStatus",
    "SupportsBulkStatus",
    "SupportsDispatch",
    "container_image",
    "prefixed_job_name",
    "read_bootstrap",
    "require_same_job",
    "require_same_run",
    "run_variables",
]

BOOTSTRAP = Path(__file__).parents[1] / "launch" / "bootstrap.py"


@dataclass(frozen=True)
class Request:
    """One request to a service's API, exactly as it is sent."""

    operation: str
    body: PlainDict  # JSON


@dataclass(frozen=True)
class ServiceStatus:
    """The state of one submission at its service, in gpuyard's terms.

    Times are Unix times. `restarts` has the reason of each restart that the service itself made. `overtime`: the job still runs,
    although its run time over all restarts exceeds the time limit. (The service limits each restart separately.)
    """

    state: State
    reason: Reason | None = None
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    detail: str | None = None
    console_url: str | None = None
    restarts: tuple[Reason, ...] = ()
    overtime: bool = False


@dataclass(frozen=True)
class LogLine:
    """One line of a node's output. `time` is Unix time."""

    time: float
    node: int
    text: str


@dataclass(frozen=True)
class Capacity:
    """Numbers of a pool now: all nodes, free nodes, waiting jobs. `detail` says what is wrong with the pool; None = nothing."""

    nodes: int
    free: int
    waiting: int
    detail: str | None = None


class Backend(Protocol):
    """A service that runs the jobs of one target.

    Methods that call the service raise LostSightError if the service does not answer.
    """

    poll_s: float
    job_id: re.Pattern[str]
    """Pattern of the service's job ids. An id from a record must match before it is used."""

    def request(self, run: Run) -> list[Request]:
        """Return the calls that `submit` would make. Raises UsageError for a job that the service cannot run."""

    def submit(self, run: Run) -> str:
        """Start the submission's job if it does not exist yet. Returns the service's id of the job."""

    def find(self, run: Run) -> str | None:
        """Look up the job of a submission after a crash. Returns the service's id of the job; None if there is no job."""

    def status(self, service_id: str) -> ServiceStatus:
        """Query the state of a job. A job that the service does not know is UNKNOWN."""

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Yield log lines, ordered by time, from `since` (Unix time). `node`: None = all nodes. `follow`: continue until the job ends."""

    def cancel(self, service_id: str, run: Run) -> None:
        """Ask the service to stop a job of `run`. A job that has ended or was cancelled is not changed.

        Raises ConflictError when the job belongs to another run.
        """

    def capacity(self) -> Capacity:
        """Return the pool's nodes, its free nodes and its waiting jobs."""

    def principal(self) -> str | None:
        """Return the identity of this process at the service, for the record: a user or a workload. None if unknown."""

    def ready(self) -> None:
        """Check that the service exists and takes jobs; else raise the error of `submit`. Runs before anything is written."""


@runtime_checkable
class SupportsBulkStatus(Protocol):
    """A backend whose service reports many jobs in one call."""

    def statuses(self, service_ids: Sequence[str]) -> Mapping[str, ServiceStatus]:
        """Return the status of each job, by its id."""


@runtime_checkable
class SupportsDispatch(Protocol):
    """A backend of a service without a scheduler."""

    def dispatch(self) -> None:
        """Start queued jobs if nodes are free, and end jobs that exceed their limits."""


def container_image(run: Run) -> str:
    """Return the job's own image, else the target's image. Raises UsageError without an image, or if the job's image has no digest."""
    own, default = run.spec.image, run.target.default_image
    if own is not None and not re.search(r"@sha256:[0-9a-f]{64}$", own):
        fix = "pin it: gpuyard pin JOB.yaml"
        problem = Problem("image", "not named by digest", own, "<name>@sha256:<digest>", fix)
        raise UsageError("an image tag can change while the job is retried", [problem])
    image = own or default
    if image is None:
        fix = "set image: in the job file and run gpuyard pin JOB.yaml; or set pins.job_image in the stack"
        raise UsageError("no image to run", [Problem("image", f"neither the job nor pool '{run.target.pool}' has an image", fix=fix)])
    return image


def read_bootstrap() -> str:
    """Return the text of bootstrap.py, which each node runs first: it fetches the code tarball and starts launch."""
    return BOOTSTRAP.read_text(encoding="utf-8")


def prefixed_job_name(run: Run, prefix: str, longest: int) -> str:
    """Return a job name for the service: the stack's prefix, the run id and the submission.

    If it has more than `longest` characters, the job's own name is cut. The digest of the run always stays.
    """
    slug, digest = run.id.rsplit("-", 1)
    suffix = f"-{digest}-{run.ordinal}"
    return prefix + slug[: longest - len(prefix) - len(suffix)].rstrip("-") + suffix


RUN_VARIABLES = frozenset(
    {
        "GPUYARD_CHANNEL_SECRET",
        "GPUYARD_CODE_URL",
        "GPUYARD_JOB_DIGEST",
        "GPUYARD_RECORD_URL",
        "GPUYARD_RUN_ID",
        "GPUYARD_RUN_URL",
        "GPUYARD_SUBMISSION",
    }
)
"""The names that `run_variables` may return."""


def run_variables(run: Run) -> dict[str, str]:
    """Return the environment variables that tell a node its run and submission, and the secret of the nodes' control channel."""
    secret = {"GPUYARD_CHANNEL_SECRET": run.channel_secret} if run.channel_secret and run.spec.nodes > 1 else {}
    return {
        **secret,
        "GPUYARD_RUN_ID": run.id,
        "GPUYARD_RUN_URL": run.url,
        "GPUYARD_RECORD_URL": run.record_url,
        "GPUYARD_SUBMISSION": str(run.submission),
        "GPUYARD_JOB_DIGEST": run.job_digest,
        "GPUYARD_CODE_URL": run.code.url,
    }


def require_same_run(run: Run, job_name: str, environment: Mapping[str, str]) -> None:
    """Raise ConflictError if a job belongs to another run. `environment`: the job's variables, which name its run."""
    require_same_job(run, job_name, job_name if environment.get("GPUYARD_RUN_URL") == run.url else None)


def require_same_job(run: Run, job_name: str, expected: str | None) -> None:
    """Raise ConflictError if a job's name is not `expected`. `expected` None: the job belongs to another run, so raise."""
    if job_name != expected:
        raise ConflictError(f"job {job_name} belongs to another run, not to {run.id}; the job was not changed")
