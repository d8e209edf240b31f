"""The service `azureml`: a command job of Azure Machine Learning for each submission, on a cluster of the workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...clouds.azure import AzureClients, azure_clients, error_code
from ...errors import ConflictError, GpuyardError, NotFoundError
from ...run import Run
from ...state import State
from ...target import AzureMlTarget
from ..base import Capacity, LogLine, Request, ServiceStatus, container_image
from ..node_results import exit_codes, starts
from .logs import beyond_the_end, lines
from .request import ARM, arm_url, body_of, environment_of, name_of, workspace_of
from .states import ENDED, status_of

_HISTORY_AUDIENCE = "https://ml.azure.com"
_AT_ONCE = 100  # runs in one call of the run history
_registered: set[str] = set()  # environments that this process has written: the same again would say nothing new
_histories: dict[str, str] = {}  # workspace -> where its run history is


class AzureMLBackend:
    """Jobs of one target (see backends/base.py for what each method promises).

    The name of a job is the run's and the caller's to choose, so a call that is made twice starts it once.
    """

    poll_s = 5.0

    def __init__(self, target: AzureMlTarget, *, azure: AzureClients | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._target, self._azure, self._sleep = target, azure or azure_clients(), sleep
        self._workspace = workspace_of(target)

    def request(self, run: Run) -> list[Request]:
        """The environment, and the job."""
        body = body_of(run, self._target)
        resource, environment = environment_of(container_image(run), self._target)
        return [
            Request(f"PUT {resource}", environment),
            Request(f"PUT {self._job(name_of(run, self._target))}", body),
        ]

    def submit(self, run: Run) -> str:
        """Write it under its name; what is there under it is this submission's own: a call's whose answer was lost, or a quicker one's."""
        name = name_of(run, self._target)
        environment, job = self.request(run)
        if environment.operation not in _registered:
            self._put(environment)
            _registered.add(environment.operation)
        try:
            self._put(job)
        except GpuyardError as error:
            # The service lets a job's tags be changed and nothing else: a job that differs was submitted by another version of gpuyard.
            if getattr(error.__cause__, "status_code", None) not in {400, 409} or self.find(run) is None:
                raise
        return name

    def find(self, run: Run) -> str | None:
        """The name is deterministic: it is there or it is not. Raises ConflictError when it is not this run's."""
        name = name_of(run, self._target)
        job = self._described(name)
        if job is None:
            return None
        if _variables(job).get("GPUYARD_RUN_URL") != run.url:
            raise ConflictError(f"the job {name} is there and is not run {run.id}'s; use another request key")
        return name

    def status(self, service_id: str) -> ServiceStatus:
        """A look at the job, and once it has run one at its history; at the end of one that failed, also what its nodes left."""
        job = self._described(service_id)
        if job is None:
            return ServiceStatus(State.UNKNOWN, detail=f"Azure ML knows no job {service_id}")
        properties, word = job["properties"], str(job["properties"].get("status", ""))
        begun = self._starts(job) if self._target.spot else 0
        run = self._run(service_id) if begun or word in ENDED or word in {"Running", "Finalizing", "CancelRequested"} else {}
        status = self._status(word, run, properties, service_id, begun)
        return replace(status, detail=f"{status.detail}{self._why_it_waits()}") if word == "Queued" else status

    def _why_it_waits(self) -> str:
        """What the cluster met when it asked for nodes: quota and lack of machines are no end of a job, it goes on waiting."""
        try:
            errors = self._cluster().get("errors") or []
        except GpuyardError:  # it may wait all the same
            return ""
        told = [each.get("error") or each for each in errors]
        return "".join(f"; {each.get('code', '')}: {' '.join(str(each.get('message', '')).split())[:200]}" for each in told[:1])

    def statuses(self, service_ids: Sequence[str]) -> Mapping[str, ServiceStatus]:
        """One call of the run history for a hundred jobs; what it does not tell of is looked at by itself."""
        found: dict[str, ServiceStatus] = {}
        for first in range(0, len(service_ids), _AT_ONCE):
            some = service_ids[first : first + _AT_ONCE]
            body = {"requests": {each: {"runId": each, "selectRunMetadata": True} for each in some}}
            told = self._history("POST", "/batchrundata", body).json().get("successfulResults") or {}
            runs = {each: (told.get(each) or {}).get("runMetadata") or {} for each in some}
            for each, run in runs.items():
                word = str(run.get("status", ""))
                known = word and word not in ENDED and not self._target.spot  # how it ended is told by the job too
                found[each] = self._status(word, run, {}, each, 0) if known else self.status(each)
        return found

    def _status(self, word: str, run: Mapping[str, Any], properties: Mapping[str, Any], name: str, begun: int) -> ServiceStatus:
        variables = properties.get("environmentVariables") or {}
        nodes = int((properties.get("resources") or {}).get("instanceCount") or 1)

        def left() -> list[int | None]:
            return exit_codes(variables.get("GPUYARD_RUN_URL", ""), variables.get("GPUYARD_SUBMISSION", ""), nodes)

        return status_of(word, run, properties, left, begun, self._console(name))

    def logs(self, service_id: str, *, node: int | None, since: float | None, follow: bool) -> Iterator[LogLine]:
        """The nodes' files, merged by the times that launch wrote into them."""

        def details() -> Mapping[str, Any]:
            return self._run(service_id, "/details")

        def over(told: Mapping[str, Any]) -> bool:
            return told.get("status") in ENDED or (not told and self._described(service_id) is None)

        yield from lines(
            details, self._fetch, node=node, since=since,
            over=over if follow else None, pause=lambda: self._sleep(self.poll_s),
        )  # fmt: skip

    def _fetch(self, url: str, offset: int) -> bytes:
        try:
            answer = self._azure.call(
                "GET", url, audience=None, watching=True, headers={"Range": f"bytes={offset}-", "x-ms-version": "2021-08-06"}
            )
            return bytes(answer.read()) if answer.status_code == 206 or not offset else bytes(answer.read())[offset:]
        except GpuyardError as error:
            if beyond_the_end(error):
                return b""
            raise

    def cancel(self, service_id: str) -> None:
        """Ask for the end: the nodes are told, and the job ends later. One that has ended refuses, and that is all right."""
        try:
            self._azure.call("POST", arm_url(f"{self._job(service_id)}/cancel"), audience=ARM, watching=True)
        except NotFoundError:
            return
        except GpuyardError as error:
            if getattr(error.__cause__, "status_code", None) not in {400, 409}:
                raise
            job = self._described(service_id)
            if job is not None and job["properties"].get("status") not in {*ENDED, "CancelRequested"}:
                raise

    def capacity(self) -> Capacity:
        """What the cluster says of its nodes; how many jobs wait it does not."""
        properties = self._cluster()
        counts = properties.get("nodeStateCounts") or {}
        taken = sum(int(counts.get(f"{word}NodeCount") or 0) for word in ("running", "preparing", "unusable", "leaving"))
        nodes = int((properties.get("scaleSettings") or {}).get("maxNodeCount") or self._target.max_nodes)
        return Capacity(nodes, max(nodes - taken, 0), 0)

    def _cluster(self) -> dict[str, Any]:
        found = self._azure.call("GET", arm_url(f"{self._workspace}/computes/{self._target.compute}"), audience=ARM, watching=True).json()
        return found["properties"].get("properties") or {}

    def ready(self) -> None:
        """Nothing to ask: the call that makes a job tells, and its name makes it safe to have written the job down before."""

    def _put(self, request: Request) -> None:
        verb, resource = request.operation.split(" ", 1)
        self._azure.call(verb, arm_url(resource), request.body, audience=ARM)

    def _job(self, name: str) -> str:
        return f"{self._workspace}/jobs/{name}"

    def _described(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._azure.call("GET", arm_url(self._job(name)), audience=ARM, watching=True).json()
        except NotFoundError as error:
            if error_code(error.__cause__) in {"ResourceGroupNotFound", "SubscriptionNotFound"}:
                raise
            return None
        return found

    def _starts(self, job: Mapping[str, Any]) -> int:
        variables = _variables(job)
        return starts(variables.get("GPUYARD_RUN_URL", ""), variables.get("GPUYARD_FIRST_ATTEMPT", ""))

    def _run(self, name: str, more: str = "") -> dict[str, Any]:
        """What the run history tells; nothing for a job that it has not heard of yet."""
        try:
            found: dict[str, Any] = self._history("GET", f"/runs/{name}{more}").json()
        except NotFoundError:
            return {}
        return found

    def _history(self, verb: str, path: str, body: Any = None) -> Any:
        if self._workspace not in _histories:
            workspace = self._azure.call("GET", arm_url(self._workspace), audience=ARM, watching=True).json()
            services = self._azure.call("GET", workspace["properties"]["discoveryUrl"], audience=None, watching=True).json()
            _histories[self._workspace] = services["history"].rstrip("/")
        url = f"{_histories[self._workspace]}/history/v1.0{self._workspace}{path}"
        return self._azure.call(verb, url, body, audience=_HISTORY_AUDIENCE, watching=True)

    def _console(self, name: str) -> str:
        return f"https://ml.azure.com/runs/{name}?wsid={self._workspace}"


def _variables(job: Mapping[str, Any]) -> dict[str, str]:
    return dict(job["properties"].get("environmentVariables") or {})
