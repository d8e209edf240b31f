"""The interface of a service that runs jobs, and the parts that requests to all services have in common."""

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
    """One call of a service's API, exactly as it is sent."""

    operation: str
    body: PlainDict  # JSON


@dataclass(frozen=True)
class ServiceStatus:
    """The state of one submission at its service, in gpuyard's terms.

    Times are Unix times. `restarts` has the reason of each restart that the service made by itself. `overtime`: the job still runs,
    and its starts together took longer than its time limit, which the service applies to each start alone.
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
    """The pool now: its nodes, how many of them are free, and how many jobs wait."""

    nodes: int
    free: int
    waiting: int


class Backend(Protocol):
    """A service that runs the jobs of one target.

    Methods that call the service raise LostSightError while it does not answer.
    """

    poll_s: float
    job_id: re.Pattern[str]
    """The ids that the service gives to jobs. An id from a record is matched against it before it is used."""

    def request(self, run: Run) -> list[Request]:
        """Return the calls that `submit` makes, without making them. Raises UsageError for a job that the service cannot run."""

    def submit(self, run: Run) -> str:
        """Start a submission, or find it if it exists. Returns the service's id of the job."""

    def find(self, run: Run) -> str | None:
        """Return the service's id of a submission that may have been made before a crash. None if it was not made."""

    def status(self, service_id: str) -> ServiceStatus:
        """Return the state of a job, and change nothing. A job that the service does not know is UNKNOWN."""

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Yield the lines of one node or of all, ordered by time, from `since` (Unix time). `follow` continues until the job ends."""

    def cancel(self, service_id: str, run: Run) -> None:
        """Ask the service to stop a job of `run`. Has no effect on a job that was cancelled or has ended.

        Raises ConflictError when the job belongs to another run.
        """

    def capacity(self) -> Capacity:
        """Return the pool's nodes, its free nodes and its waiting jobs."""

    def ready(self) -> None:
        """Raise the error that `submit` would raise if the service is missing or takes no jobs. Called before anything is written."""


@runtime_checkable
class SupportsBulkStatus(Protocol):
    """A backend whose service reports many jobs in one call."""

    def statuses(self, service_ids: Sequence[str]) -> Mapping[str, ServiceStatus]:
        """Return the status of each job, by its id."""


@runtime_checkable
class SupportsDispatch(Protocol):
    """A backend whose service has no scheduler of its own."""

    def dispatch(self) -> None:
        """Start the queued jobs for which nodes are free, and end the jobs beyond their limits."""


def container_image(run: Run) -> str:
    """Return the job's own image, else the target's. Raises UsageError if the job's image is not given by digest, or if there is none."""
    own, default = run.spec.image, run.target.default_image
    if own is not None and not re.search(r"@sha256:[0-9a-f]{64}$", own):
        fix = "pin it: gpuyard pin <job file>"
        problem = Problem("image", "not named by digest", own, "<name>@sha256:<digest>", fix)
        raise UsageError("the image's tag can move to other content while the job is retried", [problem])
    image = own or default
    if image is None:
        fix = "set image: in the job file and pin it: gpuyard pin <job file>; or set pins.job_image in the stack"
        raise UsageError("no image to run", [Problem("image", f"neither the job nor pool '{run.target.pool}' names one", fix=fix)])
    return image


def read_bootstrap() -> str:
    """Return the program that every node starts with: it fetches the code tarball and starts launch."""
    return BOOTSTRAP.read_text(encoding="utf-8")


def prefixed_job_name(run: Run, prefix: str, longest: int) -> str:
    """Return the stack's prefix, the run and the submission as one name.

    A name of more than `longest` characters loses the end of the job's name, never the digest of the run.
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
    """Return the environment variables that name a node's run and let the node prove to the other nodes that it belongs to the run."""
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
    """Raise ConflictError when a job does not belong to `run`, although its name or its record says so. `environment` has its variables."""
    require_same_job(run, job_name, job_name if environment.get("GPUYARD_RUN_URL") == run.url else None)


def require_same_job(run: Run, job_name: str, expected: str | None) -> None:
    """Raise ConflictError when a job does not have the expected name of a submission of `run`."""
    if job_name != expected:
        raise ConflictError(f"job {job_name} belongs to another run, not to {run.id}; it was not changed")
