"""The service `vertex`: a custom job of Vertex AI for each submission.

CreateCustomJob takes no name and no token of the caller's: a submission carries labels, by which it is found after a crash, and the
call is made so that an answer that never came does not lead to a second job.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...clouds.gcp import GcpClients, gcp_clients, is_missing, label
from ...clouds.gcp_errors import error_kind
from ...errors import GpuyardError, UsageError
from ...run import Run
from ...state import Reason, State
from ...target import VertexTarget
from ..base import Capacity, LogLine, Request, ServiceStatus
from ..node_results import exit_codes
from ..submit_once import WITHIN_S, once
from .logs import lines
from .request import body_of, filter_of
from .states import Told, status_of

_ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED"}
_ALIVE = 'state="JOB_STATE_{}"'
_WAITING = ("QUEUED", "PENDING")
_MANY = 3  # from so many jobs on a listing costs less than a call for each
_PAGE = 100


class VertexBackend:
    """Custom jobs of one target (see backends/base.py for what each method promises)."""

    poll_s = 5.0

    def __init__(self, target: VertexTarget, *, gcp: GcpClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._sleep = target, sleep
        self._gcp = gcp or gcp_clients(target.project, target.region)
        self._pool = f'labels.gpuyard_stack="{label(target.stack)}" AND labels.gpuyard_pool="{label(target.pool)}"'
        self._parent = f"projects/{target.project}/locations/{target.region}"

    def request(self, run: Run) -> list[Request]:
        """One CreateCustomJob."""
        return [Request("CreateCustomJob", {"parent": self._parent, "customJob": body_of(run, self._target)})]

    def submit(self, run: Run) -> str:
        """Create it, once."""
        until = time.monotonic() + WITHIN_S
        body = _message(self.request(run)[0].body["customJob"])

        def attempt() -> str:
            made = self._gcp.call("create_custom_job", {"parent": self._parent, "custom_job": body}, once=True)
            return str(made.name)

        return once(attempt, lambda: self.find(run), error_kind, self._sleep, until=until)

    def find(self, run: Run) -> str | None:
        """By its labels: the oldest, should there be several."""
        found = [job for job in self._jobs(filter_of(run)) if _environment(job).get("GPUYARD_RUN_URL") == run.url]
        return str(min(found, key=lambda job: (_unix(job.create_time) or 0.0, job.name)).name) if found else None

    def status(self, service_id: str) -> ServiceStatus:
        """One GetCustomJob; at the end of one that failed, also what its nodes left in the run bucket."""
        job = self._get(service_id)
        return self._unknown(service_id) if job is None else self._told(job)

    def statuses(self, service_ids: Sequence[str]) -> dict[str, ServiceStatus]:
        """The same of many jobs: a listing of the pool's newest, and a call for each that is not on its first pages."""
        found: dict[str, Any] = {}
        if len(service_ids) >= _MANY:
            listed = itertools.islice(self._jobs(self._pool), len(service_ids) + _PAGE)
            while not found.keys() >= set(service_ids) and (job := next(listed, None)) is not None:
                found[str(job.name)] = job
        return {each: self._told(found[each]) if each in found else self.status(each) for each in service_ids}

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """The replicas' entries in Cloud Logging, from the job's creation on if nothing else is asked."""
        job = self._get(service_id)
        if job is None:
            return
        created = _unix(job.create_time) or 0.0

        def over() -> bool:
            seen = self._get(service_id)
            return seen is None or _state(seen) in _ENDED

        yield from lines(
            self._gcp.post, self._target.project, service_id.rsplit("/", 1)[-1],
            node=node, since=max(created, since or 0.0), over=over if follow else None, pause=lambda: self._sleep(self.poll_s),
        )  # fmt: skip

    def cancel(self, service_id: str) -> None:
        """CancelCustomJob: SIGTERM to the replicas. One that has ended refuses, and that is all right."""
        try:
            self._gcp.call("cancel_custom_job", {"name": service_id}, watching=True)
        except UsageError:
            job = self._get(service_id)
            if job is not None and _state(job) not in {*_ENDED, "JOB_STATE_CANCELLING"}:
                raise

    def capacity(self) -> Capacity:
        """The pool's size less the nodes of its running jobs; machines that nobody holds may not be there all the same."""
        taken = sum(_nodes(job) for job in self._jobs(f"{self._pool} AND {_ALIVE.format('RUNNING')}"))
        waiting = sum(1 for state in _WAITING for _ in self._jobs(f"{self._pool} AND {_ALIVE.format(state)}"))
        return Capacity(self._target.max_nodes, max(0, self._target.max_nodes - taken), waiting)

    def ready(self) -> None:
        """Nothing to ask: the call that creates a job tells, and the labels make it safe to have written the job down before."""

    def _jobs(self, wanted: str) -> Iterator[Any]:
        """A listing, page by page, each a call of its own: the client's own pages would raise its own errors."""
        request = {"parent": self._parent, "filter": wanted, "page_size": _PAGE}
        while True:
            page = next(self._gcp.call("list_custom_jobs", request, watching=True).pages)
            yield from page.custom_jobs
            if not page.next_page_token:
                return
            request = {**request, "page_token": page.next_page_token}

    def _get(self, name: str) -> Any:
        try:
            return self._gcp.call("get_custom_job", {"name": name}, watching=True)
        except GpuyardError as error:
            if is_missing(error):
                return None
            raise

    def _told(self, job: Any) -> ServiceStatus:
        environment = _environment(job)
        limit = job.job_spec.scheduling.timeout.total_seconds() or float("inf")
        told = Told(
            _state(job), job.error.message, _unix(job.create_time), _unix(job.start_time), _unix(job.end_time), limit,
            Reason(environment.get("GPUYARD_LIMIT_REASON", Reason.TIMEOUT)),
        )  # fmt: skip
        url, submission, nodes = environment.get("GPUYARD_RUN_URL", ""), environment.get("GPUYARD_SUBMISSION", ""), _nodes(job)
        return status_of(told, lambda: exit_codes(url, submission, nodes), self._console(job.name))

    def _unknown(self, name: str) -> ServiceStatus:
        return ServiceStatus(State.UNKNOWN, detail=f"Vertex knows no job {name}")

    def _console(self, name: str) -> str:
        job = name.rsplit("/", 1)[-1]
        where = f"locations/{self._target.region}/training/{job}/cpu"
        return f"https://console.cloud.google.com/vertex-ai/{where}?project={self._target.project}"


def _message(body: Mapping[str, Any]) -> Any:
    """The official message of a body. Raises UsageError for a word that the installed client does not know."""
    from google.cloud.aiplatform_v1.types import CustomJob
    from google.protobuf.json_format import ParseError

    try:
        return CustomJob.from_json(json.dumps(body))
    except ParseError as error:
        raise UsageError(f"the installed google-cloud-aiplatform does not know this: {error}; upgrade it") from None


def _state(job: Any) -> str:
    """Its name, also where this version of the client has none for it."""
    from google.cloud.aiplatform_v1.types import JobState

    value = int(type(job).pb(job).state)
    return next((name for name, state in JobState.__members__.items() if int(state) == value), f"JOB_STATE_{value}")


def _environment(job: Any) -> dict[str, str]:
    pools = job.job_spec.worker_pool_specs
    return {variable.name: variable.value for variable in pools[0].container_spec.env} if pools else {}


def _nodes(job: Any) -> int:
    return sum(int(pool.replica_count) for pool in job.job_spec.worker_pool_specs)


def _unix(moment: Any) -> float | None:
    """A moment that is not set is 1970 to some versions of the client, and nothing to others."""
    found = moment.timestamp() if moment else 0.0
    return found or None
