"""The service `vertex`: one custom job of Vertex AI for each submission.

CreateCustomJob takes neither a unique name nor an idempotency token. So each submission has labels, by which a submit finds
it after a crash. `submit_once` prevents a second job when the answer of a call is lost.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from ....plain_data import PlainMapping
from ...clouds import Json
from ...clouds.gcp import GcpClients, gcp_clients
from ...clouds.gcp_errors import error_kind
from ...errors import NotFoundError, UsageError
from ...run import Run
from ...state import Reason, State
from ...target import VertexTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, require_same_run
from ..labels import gcp_label_value
from ..node_results import node_exit_codes
from ..submit_once import SUBMIT_WINDOW_S, submit_once
from .logs import LogReader
from .request import label_filter, request_body
from .states import ENDED, JobFields, status_of

__all__ = ["VertexBackend"]

_IN_STATE = 'state="JOB_STATE_{}"'
_WAITING = ("QUEUED", "PENDING")
_LIST_FROM = 3  # with this many jobs or more, one listing costs less than a call for each job
_PAGE = 100

_CustomJob: TypeAlias = Any  # google.cloud.aiplatform_v1.types.CustomJob, which has no types


class VertexBackend:
    """Custom jobs of one pool (backends/base.py describes the methods)."""

    poll_s = 5.0

    def __init__(self, target: VertexTarget, *, gcp: GcpClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._sleep = target, sleep
        self._gcp = gcp or gcp_clients(target.project, target.region)
        stack, pool = gcp_label_value(target.stack), gcp_label_value(target.pool)
        self._pool = f'labels.gpuyard_stack="{stack}" AND labels.gpuyard_pool="{pool}"'
        self._parent = f"projects/{target.project}/locations/{target.region}"
        # Vertex AI answers with the project's number instead of its id.
        self.job_id = re.compile(rf"projects/({re.escape(target.project)}|[0-9]+)/locations/{re.escape(target.region)}/customJobs/[0-9]+")

    def request(self, run: Run) -> list[Request]:
        """Return one CreateCustomJob."""
        return [Request("CreateCustomJob", {"parent": self._parent, "customJob": request_body(run, self._target)})]

    def submit(self, run: Run) -> str:
        """Create the custom job if it does not exist yet."""
        until = time.monotonic() + SUBMIT_WINDOW_S
        job = _message(self.request(run)[0].body["customJob"])

        def attempt() -> str:
            created = self._gcp.call("create_custom_job", {"parent": self._parent, "custom_job": job}, single_attempt=True)
            return str(created.name)

        return submit_once(attempt, lambda: self.find(run), error_kind, self._sleep, until=until)

    def find(self, run: Run) -> str | None:
        """Find a submission by its labels. If several jobs have the labels, return the oldest."""
        found = [job for job in self._list(label_filter(run)) if _environment(job).get("GPUYARD_RUN_URL") == run.url]
        return str(min(found, key=lambda job: (_unix(job.create_time) or 0.0, job.name)).name) if found else None

    def status(self, service_id: str) -> ServiceStatus:
        """Get one custom job. If it failed, also read its nodes' exit codes from the run bucket."""
        job = self._get(service_id)
        if job is None:
            return ServiceStatus(State.UNKNOWN, detail=f"Vertex AI has no job {service_id}")
        return self._status(job)

    def statuses(self, service_ids: Sequence[str]) -> dict[str, ServiceStatus]:
        """List the pool's newest jobs. Get the jobs that are not on the first pages one by one."""
        found: dict[str, _CustomJob] = {}
        if len(service_ids) >= _LIST_FROM:
            listed = itertools.islice(self._list(self._pool), len(service_ids) + _PAGE)
            while not found.keys() >= set(service_ids) and (job := next(listed, None)) is not None:
                found[str(job.name)] = job
        return {each: self._status(found[each]) if each in found else self.status(each) for each in service_ids}

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Read the replicas' entries in Cloud Logging, from the job's creation or from `since` if that is later."""
        job = self._get(service_id)
        if job is None:
            return
        created = _unix(job.create_time) or 0.0

        def ended() -> bool:
            current = self._get(service_id)
            return current is None or _state(current) in ENDED

        job_number = service_id.rsplit("/", 1)[-1]
        start, view = max(created, since or 0.0), self._target.log_view
        reader = LogReader(self._gcp.post, self._target.project, job_number, node=node, since=start, view=view)
        yield from reader.lines(follow, ended, lambda: self._sleep(self.poll_s))

    def cancel(self, service_id: str, run: Run) -> None:
        """Call CancelCustomJob, which sends SIGTERM to the replicas. A refusal because the job has ended is ignored."""
        job = self._get(service_id)
        if job is None:
            return
        require_same_run(run, service_id, _environment(job))
        try:
            self._gcp.call("cancel_custom_job", {"name": service_id}, job_may_run=True)
        except UsageError:
            job = self._get(service_id)
            if job is not None and _state(job) not in {*ENDED, "JOB_STATE_CANCELLING"}:
                raise

    def capacity(self) -> Capacity:
        """Report max_nodes minus the nodes of running jobs as free. Vertex AI may have no machines for the free nodes."""
        used = sum(_nodes(job) for job in self._list(f"{self._pool} AND {_IN_STATE.format('RUNNING')}"))
        waiting = sum(1 for state in _WAITING for _ in self._list(f"{self._pool} AND {_IN_STATE.format(state)}"))
        return Capacity(self._target.max_nodes, max(0, self._target.max_nodes - used), waiting)

    def principal(self) -> str | None:
        """Return the service account, user or workload of the credentials."""
        return self._gcp.principal

    def ready(self) -> None:
        """Do nothing: CreateCustomJob itself reports problems, and the labels make a retry safe."""

    def _list(self, wanted: str) -> Iterator[_CustomJob]:
        """Yield the jobs that match a filter. Each page is a separate `call`, which translates the client's errors."""
        request: Json = {"parent": self._parent, "filter": wanted, "page_size": _PAGE}
        while True:
            page = next(self._gcp.call("list_custom_jobs", request, job_may_run=True).pages)
            yield from page.custom_jobs
            if not page.next_page_token:
                return
            request = {**request, "page_token": page.next_page_token}

    def _get(self, name: str) -> _CustomJob | None:
        try:
            return self._gcp.call("get_custom_job", {"name": name}, job_may_run=True)
        except NotFoundError:
            return None

    def _status(self, job: _CustomJob) -> ServiceStatus:
        environment, nodes = _environment(job), _nodes(job)
        fields = JobFields(
            _state(job),
            job.error.message,
            _unix(job.create_time),
            _unix(job.start_time),
            _unix(job.end_time),
            job.job_spec.scheduling.timeout.total_seconds() or float("inf"),
            Reason(environment.get("GPUYARD_LIMIT_REASON", Reason.TIMEOUT)),
        )
        return status_of(fields, lambda: node_exit_codes(environment, nodes), self._console(job.name))

    def _console(self, name: str) -> str:
        job = name.rsplit("/", 1)[-1]
        page = f"locations/{self._target.region}/training/{job}/cpu"
        return f"https://console.cloud.google.com/vertex-ai/{page}?project={self._target.project}"


def _message(body: PlainMapping) -> _CustomJob:
    """Convert a request body to the client's message type. Raises UsageError for a value that the installed client lacks."""
    from google.cloud.aiplatform_v1.types import CustomJob
    from google.protobuf.json_format import ParseError

    try:
        return CustomJob.from_json(json.dumps(body))
    except ParseError as error:
        fix = "run pip install -U google-cloud-aiplatform"
        raise UsageError(f"the installed google-cloud-aiplatform is too old for the request: {error}; {fix}") from None


def _state(job: _CustomJob) -> str:
    """Return the name of a job's state. A state that the installed client lacks becomes JOB_STATE_<number>."""
    from google.cloud.aiplatform_v1.types import JobState

    value = int(type(job).pb(job).state)
    return next((name for name, state in JobState.__members__.items() if int(state) == value), f"JOB_STATE_{value}")


def _environment(job: _CustomJob) -> dict[str, str]:
    pools = job.job_spec.worker_pool_specs
    return {variable.name: variable.value for variable in pools[0].container_spec.env} if pools else {}


def _nodes(job: _CustomJob) -> int:
    return sum(int(pool.replica_count) for pool in job.job_spec.worker_pool_specs)


def _unix(moment: datetime | None) -> float | None:
    """Convert a time to Unix time. An unset time (None, or 1970 in some versions of the client) becomes None."""
    found = moment.timestamp() if moment else 0.0
    return found or None
