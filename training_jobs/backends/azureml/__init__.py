"""The service `azureml`: one command job of Azure Machine Learning for each submission, on a compute cluster of the workspace."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...clouds import Json
from ...clouds.azure import ARM, AzureClients, azure_clients
from ...clouds.azure_errors import error_code
from ...errors import GpuyardError, NotFoundError
from ...run import Run
from ...state import State
from ...target import AzureMlTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, container_image, require_same_run
from ..node_results import count_starts, node_exit_codes
from .logs import READ_BYTES, LogReader
from .request import arm_url, environment_of, job_name, request_body, workspace_id
from .states import ENDED, status_of

if TYPE_CHECKING:
    from azure.core.rest import HttpResponse

__all__ = ["AzureMLBackend"]

_HISTORY_AUDIENCE = "https://ml.azure.com"
_PER_CALL = 100  # runs in one call of the run history
_HAS_RUN = {*ENDED, "Running", "Finalizing", "CancelRequested"}
_registered: set[str] = set()  # environments that this process has written, so that each is written once
_histories: dict[str, str] = {}  # workspace -> URL of its run history


class AzureMLBackend:
    """Command jobs of one pool (backends/base.py describes the methods).

    The job's name depends only on the run, so a repeated call starts no second job.
    """

    poll_s = 5.0
    job_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")

    def __init__(self, target: AzureMlTarget, *, azure: AzureClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._azure, self._sleep = target, azure or azure_clients(), sleep
        self._workspace = workspace_id(target)

    def request(self, run: Run) -> list[Request]:
        """Return two calls: PUT of the image's environment, and PUT of the job."""
        body = request_body(run, self._target)
        resource, environment = environment_of(container_image(run), self._target)
        return [
            Request(f"PUT {resource}", environment),
            Request(f"PUT {self._job(job_name(run, self._target))}", body),
        ]

    def submit(self, run: Run) -> str:
        """Create the job. If the name exists, an earlier or parallel call has created the same job."""
        name = job_name(run, self._target)
        environment, job = self.request(run)
        if environment.operation not in _registered:
            self._put(environment)
            _registered.add(environment.operation)
        try:
            self._put(job)
        except GpuyardError as error:
            # Azure ML refuses a job that differs from the existing one, except in tags: another version of gpuyard submitted that job.
            if _http_status(error) not in {400, 409} or self.find(run) is None:
                raise
        return name

    def find(self, run: Run) -> str | None:
        """Find the job by its deterministic name. Raises ConflictError if it belongs to another run."""
        name = job_name(run, self._target)
        job = self._get(name)
        if job is None:
            return None
        require_same_run(run, name, _variables(job["properties"]))
        return name

    def status(self, service_id: str) -> ServiceStatus:
        """Get the job, and its run history if it has started. If it failed, also read its nodes' exit codes from the run bucket."""
        job = self._get(service_id)
        if job is None:
            return ServiceStatus(State.UNKNOWN, detail=f"Azure ML has no job {service_id}")
        properties, status = job["properties"], str(job["properties"].get("status", ""))
        starts = count_starts(_variables(properties)) if self._target.spot else 0
        run = self._run(service_id) if starts or status in _HAS_RUN else {}
        found = self._status(status, run, properties, service_id, starts)
        return replace(found, detail=f"{found.detail}{self._allocation_error()}") if status == "Queued" else found

    def _allocation_error(self) -> str:
        """Return a text with the cluster's last error, such as a quota, for the status of a waiting job."""
        try:
            errors = self._cluster().get("errors") or []
        except GpuyardError:  # the job's own status is still right
            return ""
        if not errors:
            return ""
        error = errors[0].get("error") or errors[0]
        return f"; {error.get('code', '')}: {' '.join(str(error.get('message', '')).split())[:200]}"

    def statuses(self, service_ids: Sequence[str]) -> Mapping[str, ServiceStatus]:
        """Read the run history, 100 jobs per call. Get a job itself if its history does not show its state."""
        found: dict[str, ServiceStatus] = {}
        for first in range(0, len(service_ids), _PER_CALL):
            page = service_ids[first : first + _PER_CALL]
            body = {"requests": {each: {"runId": each, "selectRunMetadata": True} for each in page}}
            results = self._history("POST", "/batchrundata", body).json().get("successfulResults") or {}
            for each in page:
                run = (results.get(each) or {}).get("runMetadata") or {}
                status = str(run.get("status", ""))
                decided = status and status not in ENDED and not self._target.spot  # only the job itself has the reason of its end
                found[each] = self._status(status, run, {}, each, 0) if decided else self.status(each)
        return found

    def _status(self, status: str, run: Json, properties: Json, name: str, starts: int) -> ServiceStatus:
        nodes = int((properties.get("resources") or {}).get("instanceCount") or 1)
        return status_of(status, run, properties, lambda: node_exit_codes(_variables(properties), nodes), starts, self._console(name))

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """Read the nodes' log files, merged by time. launch writes the time before each line."""

        def ended(details: Json) -> bool:
            return details.get("status") in ENDED or (not details and self._get(service_id) is None)

        reader = LogReader(lambda: self._run(service_id, "/details"), self._read_from, node=node, since=since)
        yield from reader.lines(follow, ended, lambda: self._sleep(self.poll_s))

    def _read_from(self, url: str, offset: int) -> bytes:
        """Read at most READ_BYTES of a log file, from an offset. Empty if the file does not exist yet."""
        headers = {"Range": f"bytes={offset}-{offset + READ_BYTES - 1}", "x-ms-version": "2021-08-06"}
        try:
            answer = self._azure.call("GET", url, audience=None, job_may_run=True, headers=headers)
            return answer.read() if answer.status_code == 206 or not offset else answer.read()[offset:]
        except GpuyardError as error:
            if _http_status(error) in {404, 416}:  # no file yet, or nothing after the offset
                return b""
            raise

    def cancel(self, service_id: str, run: Run) -> None:
        """Request cancellation: the nodes get SIGTERM, and the job ends later. A refusal because the job has ended is ignored."""
        job = self._get(service_id)
        if job is None:
            return
        require_same_run(run, service_id, _variables(job["properties"]))
        try:
            self._azure.call("POST", arm_url(f"{self._job(service_id)}/cancel"), audience=ARM, job_may_run=True)
        except NotFoundError:
            return
        except GpuyardError as error:
            if _http_status(error) not in {400, 409}:
                raise
            job = self._get(service_id)
            if job is not None and job["properties"].get("status") not in {*ENDED, "CancelRequested"}:
                raise

    def capacity(self) -> Capacity:
        """Return the numbers of nodes and idle nodes. Azure ML does not report how many jobs wait."""
        properties = self._cluster()
        counts = properties.get("nodeStateCounts") or {}
        used = sum(int(counts.get(f"{state}NodeCount") or 0) for state in ("running", "preparing", "unusable", "leaving"))
        nodes = int((properties.get("scaleSettings") or {}).get("maxNodeCount") or self._target.max_nodes)
        return Capacity(nodes, max(nodes - used, 0), 0)

    def _cluster(self) -> Json:
        cluster: Json = self._arm(f"{self._workspace}/computes/{self._target.compute}")
        return cluster["properties"].get("properties") or {}

    def principal(self) -> str | None:
        """Return the user or application of the access token."""
        return self._azure.principal

    def ready(self) -> None:
        """Do nothing: the PUT of the job itself reports problems, and the job's unique name makes a retry safe."""

    def _put(self, request: Request) -> None:
        verb, resource = request.operation.split(" ", 1)
        self._azure.call(verb, arm_url(resource), request.body, audience=ARM)

    def _arm(self, resource: str) -> Json:
        found: Json = self._azure.call("GET", arm_url(resource), audience=ARM, job_may_run=True).json()
        return found

    def _job(self, name: str) -> str:
        return f"{self._workspace}/jobs/{quote(name, safe='')}"

    def _get(self, name: str) -> Json | None:
        try:
            return self._arm(self._job(name))
        except NotFoundError as error:
            if error_code(error.__cause__) in {"ResourceGroupNotFound", "SubscriptionNotFound"}:
                raise
            return None

    def _run(self, name: str, part: str = "") -> Json:
        """Return a job's entry in the run history; empty if it does not exist yet."""
        try:
            found: Json = self._history("GET", f"/runs/{quote(name, safe='')}{part}").json()
        except NotFoundError:
            return {}
        return found

    def _history(self, verb: str, path: str, body: Json | None = None) -> HttpResponse:
        if self._workspace not in _histories:
            workspace = self._arm(self._workspace)
            services = self._azure.call("GET", workspace["properties"]["discoveryUrl"], audience=None, job_may_run=True).json()
            _histories[self._workspace] = services["history"].rstrip("/")
        url = f"{_histories[self._workspace]}/history/v1.0{self._workspace}{path}"
        return self._azure.call(verb, url, body, audience=_HISTORY_AUDIENCE, job_may_run=True)

    def _console(self, name: str) -> str:
        return f"https://ml.azure.com/runs/{quote(name, safe='')}?wsid={self._workspace}"


def _variables(properties: Json) -> dict[str, str]:
    return dict(properties.get("environmentVariables") or {})


def _http_status(error: GpuyardError) -> int | None:
    return getattr(error.__cause__, "status_code", None)
