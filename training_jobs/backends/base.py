"""What every service must be able to do, and nothing more. The wait is shared: training_jobs/runner.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..run import Run
from ..state import Reason, State


@dataclass(frozen=True)
class Request:
    """One call of a service's API, exactly as it will be sent."""

    operation: str
    body: dict[str, Any]


@dataclass(frozen=True)
class ServiceStatus:
    """What a service says of one submission, in our words. `restarts`: why it started the nodes anew by itself, each time."""

    state: State
    reason: Reason | None = None
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    detail: str | None = None
    console_url: str | None = None
    restarts: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class LogLine:
    """One line of a node's output. `time` is Unix time."""

    time: float
    node: int
    text: str


@dataclass(frozen=True)
class Capacity:
    """Nodes of a pool now."""

    nodes: int
    free: int
    waiting: int


class Backend(Protocol):
    """A service that runs jobs on one target. Clients and endpoints are injected by its constructor.

    Methods that ask the service raise LostSightError when it cannot be asked at present.
    """

    poll_s: float

    def request(self, run: Run) -> list[Request]:
        """The exact calls that `submit` makes. Pure. Raises UsageError for what the service cannot do."""

    def submit(self, run: Run) -> str:
        """Start a submission, or find it if it is there already. Returns the service's id."""

    def find(self, run: Run) -> str | None:
        """The service's id of a submission that may have been made before a crash."""

    def status(self, service_id: str) -> ServiceStatus:
        """Where it is. A job the service does not know is UNKNOWN."""

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Lines of one node or of all, in order of time, from `since` (Unix time); followed until the end."""

    def cancel(self, service_id: str) -> None:
        """Ask for the end. Calling it again, or after the end, changes nothing."""

    def capacity(self) -> Capacity:
        """How much of the pool is free."""

    def ready(self) -> None:
        """Raise what a submit would meet if the service is not there or takes no jobs: asked before anything is written."""


@runtime_checkable
class AsksForMany(Protocol):
    """A backend whose service tells of many jobs in one call."""

    def statuses(self, service_ids: Sequence[str]) -> Mapping[str, ServiceStatus]:
        """What `status` says of each of them."""
