"""Jobs of the fake Batch: their state, the environment of their containers, and their DescribeJobs and ListJobs documents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.aws.batch_containers import Attempt, Containers, Node
from tests.fakes.aws.batch_rules import device_error
from tests.fakes.aws.botocore_service import Body


@dataclass
class Queue:
    """A queue with one compute environment of `nodes` machines. `starved`: no machine can be allocated at present."""

    name: str
    arn: str
    nodes: int
    spot: bool = False
    managed: bool = True
    state: str = "ENABLED"
    status: str = "VALID"
    limits: list[dict[str, Any]] = field(default_factory=list)
    starved: bool = False
    instance: str = "p5.48xlarge"
    environment: dict[str, str] = field(default_factory=lambda: {"statusReason": "ComputeEnvironment Healthy"})
    """State, status and reason of the queue's compute environment. Empty: it is ENABLED and VALID."""
    shared: bool = False
    """Whether the queue has a fair-share scheduling policy."""
    adapters: int = 32
    """EFA devices of each machine. 0: its image has no EFA driver."""


@dataclass
class Job:
    """One job and its SubmitJob request."""

    id: str
    queue: Queue
    body: Body
    definition: Body
    container: Body
    nodes: int
    created: float = field(default_factory=time.time)
    status: str = "SUBMITTED"
    reason: str | None = None
    blocked_since: float | None = None
    attempts: list[Attempt] = field(default_factory=list)
    ends: list[tuple[float, str]] = field(default_factory=list)
    killed_for: str | None = None
    timed_out: bool = False

    @property
    def multi(self) -> bool:
        """Whether it is a multi-node parallel job."""
        return bool(self.definition["type"] == "multinode")

    @property
    def live(self) -> Attempt | None:
        """The running attempt, if any."""
        return self.attempts[-1] if len(self.attempts) > len(self.ends) else None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.status in ("SUCCEEDED", "FAILED")


def make_attempt(job: Job, folder: Path, addresses: list[str], image_env: Mapping[str, str], agent: Containers, stop_s: float) -> Attempt:
    """Create the next attempt of a job: a container on each address, with its environment."""
    number = len(job.attempts) + 1
    options = job.container.get("logConfiguration", {}).get("options", {})
    main = job.definition.get("nodeProperties", {}).get("mainNode", 0)
    log = (options.get("awslogs-group", "/aws/batch/job"), options.get("awslogs-stream-prefix", job.definition["jobDefinitionName"]))
    nodes = []
    for index, address in enumerate(addresses):
        node = Node(index, address, job.container["command"], {}, folder / f"{job.id}-{number}-{index}", log)
        own = _environment(job, node, number, main, addresses)
        agent_variables = agent.environment(node.task, node.address, job.container.get("jobRoleArn"))
        node.error = device_error(job.container, job.queue.adapters)
        node.environment = {**image_env, "HOME": str(node.folder), **own, **agent_variables}
        nodes.append(node)
    return Attempt(nodes, main, stop_s)


def _environment(job: Job, node: Node, number: int, main: int, addresses: list[str]) -> dict[str, str]:
    """Return the variables that Batch sets in a container, and the job's own."""
    own = {
        "AWS_BATCH_CE_NAME": job.queue.name,
        "AWS_BATCH_JOB_ATTEMPT": str(number),
        "AWS_BATCH_JOB_ID": f"{job.id}#{node.index}" if job.multi else job.id,
        "AWS_BATCH_JQ_NAME": job.queue.name,
    }
    if job.multi:
        own |= {
            "AWS_BATCH_JOB_NODE_INDEX": str(node.index),
            "AWS_BATCH_JOB_NUM_NODES": str(job.nodes),
            "AWS_BATCH_JOB_MAIN_NODE_INDEX": str(main),
        }
    if job.multi and node.index != main:  # Batch does not set it on the main node
        own["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = addresses[main]
    job_variables = {entry["name"]: entry["value"] for entry in job.container.get("environment", [])}
    return {**job_variables, **own}


def describe(job: Job, node: int | None, arn: str) -> Body:
    """Return DescribeJobs' document of a job or of one of its nodes."""
    index = job.definition.get("nodeProperties", {}).get("mainNode", 0) if node is None else node
    attempts = [_attempt_detail(job, number, index) for number in range(len(job.ends))]
    detail: Body = {
        "jobId": job.id if node is None else f"{job.id}#{node}", "jobArn": arn, "jobName": job.body["jobName"],
        "jobQueue": job.queue.arn, "jobDefinition": job.definition["jobDefinitionArn"], "createdAt": _ms(job.created),
        "status": job.status, "statusReason": job.reason, "attempts": attempts, "tags": job.body.get("tags", {}),
        "timeout": job.body.get("timeout") or job.definition.get("timeout"), "isTerminated": job.killed_for is not None,
        "startedAt": _ms(job.attempts[-1].started) if job.attempts else None,
        "stoppedAt": _ms(job.ends[-1][0]) if job.ends and job.ended else None,
    }  # fmt: skip
    if job.multi and node is None:  # the parent has no container of its own
        properties = job.definition["nodeProperties"]
        return detail | {"nodeProperties": {**properties, "numNodes": job.nodes}}
    container = {"command": job.container["command"], "image": job.container["image"]}
    if job.attempts:
        container["logStreamName"] = job.attempts[-1].nodes[index].stream
    if attempts and not job.live:
        container |= {key: value for key, value in attempts[-1]["container"].items() if key in ("exitCode", "reason")}
    if node is not None:
        detail["nodeDetails"] = {"nodeIndex": index, "isMainNode": index == job.definition["nodeProperties"]["mainNode"]}
    return detail | {"container": container}


def _attempt_detail(job: Job, number: int, index: int) -> Body:
    attempt, (ended, reason) = job.attempts[number], job.ends[number]
    node = attempt.nodes[index]
    container = {"exitCode": node.exit_code, "reason": node.error, "logStreamName": node.stream}
    found = {"container": {key: value for key, value in container.items() if value is not None}}
    return {**found, "startedAt": _ms(attempt.started), "stoppedAt": _ms(ended), "statusReason": reason}


def summarise(detail: Body) -> Body:
    """Return ListJobs' summary of a job."""
    kept = ("jobArn", "jobId", "jobName", "createdAt", "status", "statusReason", "startedAt", "stoppedAt", "jobDefinition")
    found = {key: detail[key] for key in kept if key in detail}
    nodes = detail.get("nodeProperties")
    return found | ({"nodeProperties": {"numNodes": nodes["numNodes"]}} if nodes else {})


def _ms(moment: float) -> int:
    return int(moment * 1000)
