"""Fake of AWS Batch: documented rules and states, and jobs that really run, one process for each node.

A test makes queues and compute environments with `add_queue`, as a stack does. Attempt timeouts and the time limits of a queue's states run
faster: one real second counts as `speed` seconds.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fakes.aws.batch_containers import Attempt, Containers, addresses, image_path
from tests.fakes.aws.batch_jobs import Job, Queue, describe, make_attempt, summarise
from tests.fakes.aws.batch_rules import check_definition, check_listing, check_submission, decide
from tests.fakes.aws.botocore_service import Body, FakeService, RefusalError
from tests.fakes.aws.cloudwatch_logs import FakeLogs

_WAITING = ("SUBMITTED", "PENDING", "RUNNABLE")
_LIMITED = "Canceled by JobStateTimeLimit action due to reason: "


class FakeBatch(FakeService):
    """The fake service. `image_env`: variables of the container image.

    `listing_lag`: number of listings in which a new job is still missing.
    """

    name = "batch"

    def __init__(
        self, folder: Path, logs: FakeLogs, *, image_env: Mapping[str, str] | None = None, speed: float = 1.0, stop_s: float = 30.0,
        listing_lag: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.queues: dict[str, Queue] = {}
        self.definitions: list[Body] = []
        self.jobs: dict[str, Job] = {}
        self.speed, self.stop_s, self.listing_lag = speed, stop_s, listing_lag
        self._folder, self._logs = folder, logs
        self._image_env = {"PATH": image_path(), **(image_env or {})}
        self._agent, self._slots, self._closing = Containers(), itertools.count(), threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        self._clock.start()

    def add_queue(self, name: str, nodes: int = 2, **settings: Any) -> Queue:
        """Add a queue with its compute environment, as the stack makes them."""
        queue = self.queues[name] = Queue(name, self.arn(f"job-queue/{name}"), nodes, **settings)
        return queue

    def lose(self, job: str, node: int) -> None:
        """Remove the machine of a running job's node."""
        attempt = self.jobs[job].live
        assert attempt is not None, "lose() needs a running job"
        attempt.lose(node)

    def __exit__(self, *details: object) -> None:
        self._closing.set()
        self._clock.join()
        for job in self.jobs.values():
            if job.live:
                job.live.close()
        self._agent.shutdown()
        self._agent.server_close()
        super().__exit__(*details)

    def register_job_definition(self, body: Body) -> Body:
        check_definition(body)
        with self.lock:
            name = body["jobDefinitionName"]
            revision = 1 + sum(definition["jobDefinitionName"] == name for definition in self.definitions)
            made = {"jobDefinitionName": name, "jobDefinitionArn": self.arn(f"job-definition/{name}:{revision}"), "revision": revision}
            self.definitions.append({**body, **made, "status": "ACTIVE"})
            return made

    def deregister_job_definition(self, body: Body) -> None:
        with self.lock:
            found = self._definition(body["jobDefinition"])
            if found is None:
                raise RefusalError("ClientException", f"Job definition {body['jobDefinition']} not found")
            found["status"] = "INACTIVE"

    def describe_job_definitions(self, body: Body) -> Body:
        wanted, size, start = body.get("jobDefinitions"), body.get("maxResults", 100), int(body.get("nextToken", "0"))
        with self.lock:
            found = [
                definition for definition in self.definitions
                if body.get("status") in (None, definition["status"])
                and body.get("jobDefinitionName") in (None, definition["jobDefinitionName"])
                and (wanted is None or definition["jobDefinitionArn"] in wanted or definition["jobDefinitionName"] in wanted)
            ]  # fmt: skip
        return {"jobDefinitions": found[start : start + size], "nextToken": str(start + size) if start + size < len(found) else None}

    def describe_job_queues(self, body: Body) -> Body:
        known = {key: queue for queue in self.queues.values() for key in (queue.name, queue.arn)}
        wanted = body.get("jobQueues") or list(self.queues)
        found = {known[name].name: known[name] for name in wanted if name in known}
        return {
            "jobQueues": [
                {
                    "jobQueueName": queue.name, "jobQueueArn": queue.arn, "state": queue.state, "status": queue.status, "priority": 1,
                    "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": self.arn(f"compute-environment/{queue.name}")}],
                    "jobStateTimeLimitActions": queue.limits,
                }
                for queue in found.values()
            ]
        }  # fmt: skip

    def describe_compute_environments(self, body: Body) -> Body:
        arns = {self.arn(f"compute-environment/{queue.name}"): queue for queue in self.queues.values()}
        found = {arn: arns[arn] for arn in body.get("computeEnvironments", arns) if arn in arns}
        fixed = {"type": "MANAGED", "state": "ENABLED", "status": "VALID"}
        return {
            "computeEnvironments": [
                {
                    "computeEnvironmentName": queue.name, "computeEnvironmentArn": arn,
                    "ecsClusterArn": f"arn:aws:ecs:us-east-1:123456789012:cluster/AWSBatch-{queue.name}",
                    **fixed, **queue.environment,
                }
                for arn, queue in found.items()
            ]
        }  # fmt: skip

    def submit_job(self, body: Body) -> Body:
        with self.lock:
            queue = next((queue for queue in self.queues.values() if body["jobQueue"] in (queue.name, queue.arn)), None)
            definition = self._definition(body["jobDefinition"], active=True)
            container, nodes = check_submission(body, queue, definition)
            assert queue is not None and definition is not None  # noqa: PT018
            job = Job(str(uuid.uuid4()), queue, body, definition, container, nodes)
            self.jobs[job.id] = job
            return {"jobName": body["jobName"], "jobId": job.id, "jobArn": self.arn(f"job/{job.id}")}

    def describe_jobs(self, body: Body) -> Body:
        if len(body["jobs"]) > 100:
            raise RefusalError("ClientException", "jobs can have at most 100 entries")
        with self.lock:
            found = [self._describe(*wanted.partition("#")[::2]) for wanted in body["jobs"]]
        return {"jobs": [detail for detail in found if detail is not None]}

    def list_jobs(self, body: Body) -> Body:
        check_listing(body)
        with self.lock:
            self.listing_lag -= 1
            if "multiNodeJobId" in body:
                job = self.jobs.get(body["multiNodeJobId"])
                found = [self._describe(job.id, str(index)) for index in range(job.nodes)] if job else []
                found = [detail for detail in found if detail and detail["status"] == body.get("jobStatus", "RUNNING")]
            else:
                names = [value.lower() for filter_ in body.get("filters", []) for value in filter_["values"]]
                found = [
                    self._describe(job.id, "") for job in self.jobs.values()
                    if body["jobQueue"] in (job.queue.name, job.queue.arn)
                    and (job.body["jobName"].lower() in names if names else job.status == body.get("jobStatus", "RUNNING"))
                    and self.listing_lag < 0
                ]  # fmt: skip
        start, size = int(body.get("nextToken", "0")), body.get("maxResults", 100)
        page = [summarise(detail) for detail in found[start : start + size] if detail]
        return {"jobSummaryList": page, "nextToken": str(start + size) if start + size < len(found) else None}

    def cancel_job(self, body: Body) -> None:
        """Cancel a waiting job. For a started job the call succeeds and the job continues."""
        with self.lock:
            job = self._job(body["jobId"])
            if job.status in _WAITING:
                job.status, job.reason, job.killed_for = "FAILED", body["reason"], body["reason"]

    def terminate_job(self, body: Body) -> None:
        """Terminate a job in any state. A job that has ended keeps its status."""
        with self.lock:
            job = self._job(body["jobId"])
            if job.ended:
                return
            job.killed_for = body["reason"]
            if job.live:
                job.live.stop()
            else:
                job.status, job.reason = "FAILED", body["reason"]

    def _tick(self) -> None:
        while not self._closing.wait(0.02):
            with self.lock:
                for job in self.jobs.values():
                    self._advance(job)
                for queue in self.queues.values():
                    self._dispatch(queue)

    def _advance(self, job: Job) -> None:
        attempt = job.live
        if job.status == "SUBMITTED":
            job.status = "RUNNABLE"
        if attempt is None:
            return
        limit = (job.body.get("timeout") or job.definition.get("timeout") or {}).get("attemptDurationSeconds")
        if limit and not job.timed_out and (time.time() - attempt.started) * self.speed > limit:
            job.timed_out = True
            attempt.stop()
        if attempt.over():
            self._end(job, attempt)

    def _end(self, job: Job, attempt: Attempt) -> None:
        main = attempt.nodes[attempt.main]
        reason = "Essential container in task exited"
        if main.error:
            reason = "Task failed to start"
        elif main.host_lost:
            reason = "Host EC2 (instance i-0123456789abcdef0) terminated."
        if job.timed_out:
            reason = "Job attempt duration exceeded timeout"
        job.ends.append((time.time(), reason))
        job.reason = job.killed_for or reason
        if main.exit_code == 0 and not job.killed_for and not job.timed_out:
            job.status = "SUCCEEDED"
            return
        retry = job.body.get("retryStrategy") or job.definition.get("retryStrategy") or {}
        again = not job.killed_for and not job.timed_out and len(job.attempts) < retry.get("attempts", 1)
        goes_on = again and decide(retry.get("evaluateOnExit", []), main.exit_code, main.error, reason) == "RETRY"
        job.status, job.blocked_since = ("RUNNABLE" if goes_on else "FAILED"), None

    def _dispatch(self, queue: Queue) -> None:
        """Start waiting jobs in order. The first job that does not fit blocks all later jobs."""
        busy = sum(job.nodes for job in self.jobs.values() if job.live and job.queue is queue)
        head = next((job for job in self.jobs.values() if job.status == "RUNNABLE" and job.queue is queue), None)
        if head is None:
            return
        if head.nodes > queue.nodes:
            self._block(head, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE", "CE(s) associated with the job queue cannot meet it")
        elif queue.starved:
            text = f"Service cannot fulfill the capacity requested for instance type {queue.instance}"
            self._block(head, "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", text)
        elif busy + head.nodes <= queue.nodes:
            head.status, head.reason = "RUNNING", None
            head.attempts.append(
                make_attempt(head, self._folder, addresses(next(self._slots), head.nodes), self._image_env, self._agent, self.stop_s)
            )
            head.attempts[-1].start(self._logs.write)

    def _block(self, job: Job, cause: str, text: str) -> None:
        job.reason = f"{cause} - {text}"
        job.blocked_since = job.blocked_since or time.time()
        for limit in job.queue.limits:
            if limit["reason"] == cause and (time.time() - job.blocked_since) * self.speed > limit["maxTimeSeconds"]:
                job.status, job.reason = "FAILED", f"{_LIMITED}{cause}"

    def _definition(self, wanted: str, active: bool = False) -> Body | None:
        """Return a job definition by ARN, name:revision, or name (the newest active revision)."""
        named = [
            definition for definition in self.definitions
            if wanted in (definition["jobDefinitionArn"], f"{definition['jobDefinitionName']}:{definition['revision']}")
            or (wanted == definition["jobDefinitionName"] and definition["status"] == "ACTIVE")
        ]  # fmt: skip
        return next((definition for definition in reversed(named) if definition["status"] == "ACTIVE" or not active), None)

    def _job(self, job_id: str) -> Job:
        job = self.jobs.get(job_id.partition("#")[0])
        if job is None:
            raise RefusalError("ClientException", f"Job {job_id} not found")
        return job

    def _describe(self, job_id: str, node: str) -> Body | None:
        job = self.jobs.get(job_id)
        if job is None or (node and not (job.multi and int(node) < job.nodes)):
            return None
        return describe(job, int(node) if node else None, self.arn(f"job/{job.id}"))
