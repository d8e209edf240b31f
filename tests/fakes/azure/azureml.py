"""Fake of Azure Machine Learning: the routes of a submit, documented rules and states, with each node of a job as a real process."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpuyard.components.azure.roles import ML_SUBMITTER
from tests.fakes.azure.azureml_job_rules import problem_of
from tests.fakes.azure.azureml_jobs import ENDED, Cluster, Job
from tests.fakes.azure.entra import CLIENT, claims_of
from tests.fakes.azure.https_service import Answer, Body, Call, FakeHttps, RefusalError

SUBSCRIPTION = "99999999-8888-7777-6666-555555555555"
WORKSPACE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/yard/providers/Microsoft.MachineLearningServices/workspaces/train"
LOG_HOST = "gpuyardlogs.blob.core.windows.net"
SAS = "signature-of-a-log"
_ML = "Microsoft.MachineLearningServices/workspaces"
ACTIONS = {
    "put_environment": f"{_ML}/environments/versions/write",
    "put_job": f"{_ML}/jobs/write",
    "get_job": f"{_ML}/jobs/read",
    "list_jobs": f"{_ML}/jobs/read",
    "cancel_job": f"{_ML}/jobs/cancel/action",
    "get_compute": f"{_ML}/computes/read",
    "get_workspace": f"{_ML}/read",
    "get_run": f"{_ML}/experiments/runs/read",
    "get_details": f"{_ML}/experiments/runs/read",
    "get_runs": f"{_ML}/experiments/runs/read",
}
"""Operation -> action that a role must allow: role-based-access-control/permissions/ai-machine-learning, read on 2026-12-01."""
_WS = r"(?P<workspace>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices/workspaces/[^/]+)"


class FakeAzureMl(Cluster, FakeHttps):
    """One workspace with one cluster. `environment`: the network's and the identity's variables on a node.

    `machines`: number of machines that exist now; `most`: the cluster's maximum. With `requeues`, preempted low-priority nodes are replaced
    and the job restarts, as documented.
    """

    routes = (
        ("put_environment", "PUT", rf"management\.azure\.com{_WS}/environments/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"),
        ("put_job", "PUT", rf"management\.azure\.com{_WS}/jobs/(?P<name>[^/]+)"),
        ("get_job", "GET", rf"management\.azure\.com{_WS}/jobs/(?P<name>[^/]+)"),
        ("list_jobs", "GET", rf"management\.azure\.com{_WS}/jobs"),
        ("cancel_job", "POST", rf"management\.azure\.com{_WS}/jobs/(?P<name>[^/]+)/cancel"),
        ("get_compute", "GET", rf"management\.azure\.com{_WS}/computes/(?P<name>[^/]+)"),
        ("get_workspace", "GET", rf"management\.azure\.com{_WS}"),
        ("discovery", "GET", r"eastus2\.api\.azureml\.ms/discovery"),
        ("get_run", "GET", rf"eastus2\.api\.azureml\.ms/history/v1\.0{_WS}/runs/(?P<name>[^/]+)"),
        ("get_details", "GET", rf"eastus2\.api\.azureml\.ms/history/v1\.0{_WS}/runs/(?P<name>[^/]+)/details"),
        ("get_runs", "POST", rf"eastus2\.api\.azureml\.ms/history/v1\.0{_WS}/batchrundata"),
        ("get_log", "GET", rf"{re.escape(LOG_HOST)}/azureml/(?P<name>[^/]+)/(?P<file>.+)"),
    )

    def __init__(self, folder: Path, environment: Mapping[str, str], *, grace_s: float = 10.0) -> None:
        super().__init__()
        self.folder, self.environment, self.grace_s = folder, dict(environment), grace_s
        self.jobs: dict[str, Job] = {}
        self.environments: dict[str, Body] = {}
        self.machines = self.most = 2
        self.requeues = True
        self.compute_errors: list[Body] = []
        self._lives: list[threading.Thread] = []

    def admit(self, call: Call) -> None:
        """Refuse a call without its right: a token and a role's action for ARM and the run history, the URL's signature for a log."""
        if call.operation == "get_log":
            if call.query.get("sig") != SAS or "Authorization" in call.headers:
                raise RefusalError(403, "AuthenticationFailed", "Signature did not match")
            return
        audience = {"discovery": None, "get_run": "https://ml.azure.com", "get_details": "https://ml.azure.com",
                  "get_runs": "https://ml.azure.com"}.get(call.operation, "https://management.azure.com")  # fmt: skip
        if audience and ACTIONS[call.operation] not in ML_SUBMITTER.actions:
            raise RefusalError(
                403, "AuthorizationFailed", f"The client does not have authorization to perform action {ACTIONS[call.operation]}"
            )
        claims = claims_of(call.headers)
        if audience and (str(claims.get("aud", "")).rstrip("/") != audience or claims.get("appid") != CLIENT):
            raise RefusalError(401, "InvalidAuthenticationToken", f"The access token is missing or invalid for {audience}")

    def put_environment(self, call: Call, workspace: str, name: str, version: str) -> Answer:
        """Create a version of an environment. Versions never change."""
        key = f"{self._require_workspace(workspace)}/environments/{name}/versions/{version}"
        with self.lock:
            existing = self.environments.setdefault(key, call.body["properties"])
        if existing != call.body["properties"]:
            raise RefusalError(409, "UserError", "A version of an environment cannot be changed")
        return Answer(201, {"id": key, "name": version, "properties": existing})

    def put_job(self, call: Call, workspace: str, name: str) -> Answer:
        """Create a job, or change the tags of an existing one. No other change is accepted."""
        self._require_workspace(workspace)
        properties = call.body["properties"]
        if problem := problem_of(name, properties, set(self.environments), f"{WORKSPACE}/computes/h100", self.most):
            raise RefusalError(400, "UserError", problem)
        with self.lock:
            job = self.jobs.get(name)
            if job is not None:
                fixed = {key for key in {*job.properties, *properties} - {"tags"} if job.properties.get(key) != properties.get(key)}
                if fixed:
                    raise RefusalError(400, "UserError", f"A job with this name already exists; immutable: {', '.join(sorted(fixed))}")
                job.properties["tags"] = properties.get("tags", {})
                return Answer(200, self._document(job))
            job = self.jobs[name] = Job(name, properties)
        thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self._lives.append(thread)
        thread.start()
        return Answer(201, self._document(job))

    def get_job(self, call: Call, workspace: str, name: str) -> Answer:
        """Return the control plane's document of a job."""
        self._require_workspace(workspace)
        return Answer(200, self._document(self._job(name)))

    def list_jobs(self, call: Call, workspace: str) -> Answer:
        """List all jobs."""
        self._require_workspace(workspace)
        with self.lock:
            return Answer(200, {"value": [self._document(job) for job in self.jobs.values()]})

    def cancel_job(self, call: Call, workspace: str, name: str) -> Answer:
        """Request a cancel. Raises RefusalError if the job has ended."""
        self._require_workspace(workspace)
        job = self._job(name)
        with self.lock:
            if job.status in ENDED:
                raise RefusalError(400, "UserError", f"Cannot cancel a job in the terminal state {job.status}")
            job.status = "CancelRequested"
            job.stop.set()
        return Answer(202, None, {"Location": f"https://management.azure.com{WORKSPACE}/operations/1"})

    def get_compute(self, call: Call, workspace: str, name: str) -> Answer:
        """Return the cluster and its node counts."""
        self._require_workspace(workspace)
        with self.lock:
            running = sum(job.holds for job in self.jobs.values())
        states = {"runningNodeCount": running, "idleNodeCount": 0, "preparingNodeCount": 0, "unusableNodeCount": 0, "leavingNodeCount": 0}
        cluster = {
            "scaleSettings": {"maxNodeCount": self.most, "minNodeCount": 0},
            "nodeStateCounts": states,
            "errors": self.compute_errors,
        }
        return Answer(
            200, {"id": f"{WORKSPACE}/computes/{name}", "name": name, "properties": {"computeType": "AmlCompute", "properties": cluster}}
        )

    def get_workspace(self, call: Call, workspace: str) -> Answer:
        """Return the workspace with the location of its other services."""
        properties = {"discoveryUrl": "https://eastus2.api.azureml.ms/discovery", "workspaceId": "0"}
        return Answer(200, {"id": self._require_workspace(workspace), "name": "train", "location": "eastus2", "properties": properties})

    def discovery(self, call: Call) -> Answer:
        """Return the services' URLs by name."""
        return Answer(200, dict.fromkeys(("api", "history", "experimentation"), "https://eastus2.api.azureml.ms"))

    def get_run(self, call: Call, workspace: str, name: str) -> Answer:
        """Return the run history's document of a job."""
        self._require_workspace(workspace)
        return Answer(200, self._history(self._job(name)))

    def get_details(self, call: Call, workspace: str, name: str) -> Answer:
        """Return the run history's document of a job, with the URLs of its logs."""
        job = self._job(name)
        urls = {
            file: f"https://{LOG_HOST}/azureml/ExperimentRun.dcid.{name}/{file}?sv=2021-08-06&sig={SAS}&sp=r" for file in list(job.files)
        }
        return Answer(200, {**self._history(job), "logFiles": urls})

    def get_runs(self, call: Call, workspace: str) -> Answer:
        """Return the run history's documents of several jobs."""
        requested = {key: each["runId"] for key, each in call.body["requests"].items()}
        found = {key: {"runMetadata": self._history(self.jobs[name])} for key, name in requested.items() if name in self.jobs}
        return Answer(200, {"successfulResults": found, "failedResults": {key: {} for key in requested if key not in found}})

    def get_log(self, call: Call, name: str, file: str) -> Answer:
        """Return a part of a log file, from one byte to another or to the end."""
        data = bytes(self._job(name.removeprefix("ExperimentRun.dcid.")).files[file])
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("Range", "bytes=0-"))
        if asked is None:
            raise RefusalError(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.")
        first = int(asked[1])
        if first >= len(data):
            raise RefusalError(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        return Answer(206, data[first : int(asked[2]) + 1 if asked[2] else None], {"Content-Type": "text/plain"})

    def text(self) -> str:
        """Return all output of all nodes, for secret scans."""
        return "\n".join(bytes(file).decode("utf-8", "replace") for job in self.jobs.values() for file in job.files.values())

    def preempt(self, name: str) -> None:
        """Preempt the low-priority nodes of a job."""
        self.jobs[name].preemptions_requested += 1

    def __exit__(self, *error: object) -> None:
        for job in self.jobs.values():
            job.stop.set()
        for thread in self._lives:
            thread.join(60)
        super().__exit__(*error)

    def _require_workspace(self, workspace: str) -> str:
        if workspace != WORKSPACE:
            raise RefusalError(404, "ResourceNotFound", f"The Resource '{workspace.rpartition('/')[2]}' was not found.")
        return workspace

    def _job(self, name: str) -> Job:
        with self.lock:
            if name not in self.jobs:
                raise RefusalError(404, "UserError", f"Job {name} was not found in the workspace")
            return self.jobs[name]

    def _document(self, job: Job) -> Body:
        services = {"Studio": {"jobServiceType": "Studio", "endpoint": f"https://ml.azure.com/runs/{job.name}?wsid={WORKSPACE}"}}
        created = {"createdAt": _iso(job.created_at), "createdBy": "x", "createdByType": "Application"}
        properties = {**job.properties, "status": job.status, "services": services}
        return {"id": f"{WORKSPACE}/jobs/{job.name}", "name": job.name, "type": "Microsoft.MachineLearningServices/workspaces/jobs",
                "properties": properties, "systemData": created}  # fmt: skip

    def _history(self, job: Job) -> Body:
        with self.lock:  # an ended run always has an end time
            times = {"startTimeUtc": _iso(job.started_at), "endTimeUtc": _iso(job.ended_at), "createdTimeUtc": _iso(job.created_at)}
            return {"runId": job.name, "status": job.status, **times, "error": job.error and {"error": job.error}, "properties": {}}


def _iso(at: float | None) -> str | None:
    """Format a time as .NET does."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def any_of(calls: list[Call], operation: str) -> list[Any]:
    """Return the bodies of an operation's calls."""
    return [call.body for call in calls if call.operation == operation]
