"""Build the request bodies that start a run on AWS Batch: RegisterJobDefinition and SubmitJob. Pure functions.

The job definition is shared by all jobs of one pool and image. Its name is a digest of its content, so equal content is registered
once. Values that differ between runs are overrides in SubmitJob.
"""

from __future__ import annotations

import re

from ....problems import Problem
from ...clouds import Json
from ...errors import UsageError
from ...run import Run, digest
from ...target import BatchTarget
from ..base import Request, container_image, read_bootstrap, run_variables
from ..labels import aws_tags

__all__ = ["GRACE_S", "SHORTEST_S", "definitions_prefix", "job_name", "requests"]

GRACE_S = 25  # for workers to save and exit; Batch sends SIGKILL 30 s after SIGTERM, so 5 s remain for writing the result
SHORTEST_S = 60  # the shortest time limit that Batch accepts
_MOST_ATTEMPTS = 10
_NODES = "0:"  # an open range: the submission sets the number of nodes
_SUBSTITUTED = re.compile(r"Ref::|\$\(|\$\$")


def requests(run: Run, target: BatchTarget) -> list[Request]:
    """Return the calls RegisterJobDefinition and SubmitJob. Raises UsageError for a job that Batch cannot run."""
    _check(run, target)
    definition = _definition(run, target)
    return [Request("RegisterJobDefinition", definition), Request("SubmitJob", _submission(run, target, definition))]


def job_name(run: Run) -> str:
    """Return the job's name, without dots. It is deterministic, so that the job can be found after a crash."""
    return f"{run.id}-{run.ordinal}"


def definitions_prefix(target: BatchTarget) -> str:
    """Return the prefix of the names of a pool's job definitions."""
    return f"{target.job_prefix}{re.sub(r'[^A-Za-z0-9_-]', '-', target.pool)[:60]}-"


def _check(run: Run, target: BatchTarget) -> None:
    if run.spec.nodes > 1 and target.spot:
        fix = "use nodes: 1, an on-demand pool, or a pool with service: sagemaker, which has multi-node spot"
        problem = Problem("nodes", "AWS Batch runs no multi-node jobs on spot machines", str(run.spec.nodes), "1", fix)
        raise UsageError(f"job '{run.spec.name}' cannot run on pool '{target.pool}'", [problem])


def _definition(run: Run, target: BatchTarget) -> Json:
    container = _container(container_image(run), target, multi_node=run.spec.nodes > 1)
    if run.spec.nodes > 1:
        group = {"targetNodes": _NODES, "container": container}
        shape: Json = {"type": "multinode", "nodeProperties": {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": [group]}}
    else:
        shape = {"type": "container", "platformCapabilities": ["EC2"], "containerProperties": container}
    shape |= {"propagateTags": True, "tags": {"stack": target.stack, "pool": target.pool}}
    return {"jobDefinitionName": f"{definitions_prefix(target)}{digest(shape)[:16]}", **shape}


def _container(image: str, target: BatchTarget, *, multi_node: bool) -> Json:
    needs = {"VCPU": target.vcpus, "MEMORY": target.memory_mib} | ({"GPU": target.gpus_per_node} if target.gpus_per_node else {})
    # A job of one node needs no EFA device. Docker refuses a container with a device that has no driver on the machine.
    adapters = [f"/dev/infiniband/uverbs{index}" for index in range(target.nics_per_node if multi_node else 0)]
    environment = {"GPUYARD_SERVICE": "batch", "GPUYARD_GRACE_S": str(GRACE_S), "AWS_DEFAULT_REGION": target.region}
    return {
        "image": image,
        "command": ["python3", "-c", _bootstrap()],
        "jobRoleArn": target.job_role,
        "executionRoleArn": target.execution_role,
        "environment": _pairs(environment),
        "resourceRequirements": [{"type": kind, "value": str(value)} for kind, value in needs.items()],
        "linuxParameters": {
            "initProcessEnabled": True,  # an init process reaps the orphans of a user's script
            "sharedMemorySize": max(64, target.memory_mib // 2),  # for data loaders and NCCL
            "devices": [{"hostPath": path, "containerPath": path, "permissions": ["READ", "WRITE", "MKNOD"]} for path in adapters],
        },
        "ulimits": [
            {"name": "memlock", "softLimit": -1, "hardLimit": -1},  # EFA registers memory
            {"name": "stack", "softLimit": 67108864, "hardLimit": 67108864},
            {"name": "nofile", "softLimit": 65536, "hardLimit": 65536},
        ],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": target.log_group, "awslogs-region": target.region, "awslogs-stream-prefix": target.pool},
        },
    }


def _submission(run: Run, target: BatchTarget, definition: Json) -> Json:
    strategy = _retry_strategy(run, target)
    environment = run_variables(run)
    if strategy["attempts"] > 1:  # Batch limits each attempt separately, so launch limits their sum
        environment["GPUYARD_LIMIT_S"] = str(run.limit_s)
    own = {"environment": _pairs(environment)}
    override: Json = {"containerOverrides": own}
    if run.spec.nodes > 1:
        group = {"targetNodes": _NODES, "containerOverrides": own}
        override = {"nodeOverrides": {"numNodes": run.spec.nodes, "nodePropertyOverrides": [group]}}
    return {
        "jobName": job_name(run),
        "jobQueue": target.job_queue,
        "jobDefinition": definition["jobDefinitionName"],  # Batch takes the newest active revision; all revisions are equal
        **override,
        **_share(run, target),
        "retryStrategy": strategy,
        "timeout": {"attemptDurationSeconds": max(run.limit_s, SHORTEST_S)},
        "propagateTags": True,
        "tags": aws_tags(run),
    }


def _share(run: Run, target: BatchTarget) -> Json:
    """Return the team and the priority of a job. A queue that teams share requires both. Other queues refuse the team."""
    if not target.teams:
        return {}
    return {"shareIdentifier": run.spec.labels["team"], "schedulingPriorityOverride": run.spec.priority or 0}


def _retry_strategy(run: Run, target: BatchTarget) -> Json:
    """Return the exit codes that Batch itself retries, and the number of attempts.

    Batch counts attempts, not reasons. If retries remain for both reasons, Batch gets the smaller number, so that it
    exceeds neither. Each attempt may take the whole time limit, so Batch gets no more attempts than the cost limit pays for.
    `wait` and later submits start the other attempts. The last rule ends all other exits, which Batch would retry by default.
    """
    retries = run.retries
    machine_loss = "preempted" if target.spot else "infra"
    allowed = {"preempted": retries.preempted, "infra": retries.infra}
    share = min([count for count in allowed.values() if count], default=0)
    rules = [
        ("preempted", {"onExitCode": "75"}),
        (machine_loss, {"onStatusReason": "Host EC2*"}),
        ("infra", {"onExitCode": "69"}),
        ("infra", {"onExitCode": "74"}),
    ]
    retried = [{**rule, "action": "RETRY"} for reason, rule in rules if allowed[reason]]
    paid = _MOST_ATTEMPTS if run.paid_starts is None else run.paid_starts
    return {"attempts": min(1 + share, _MOST_ATTEMPTS, paid), "evaluateOnExit": [*retried, {"onReason": "*", "action": "EXIT"}]}


def _bootstrap() -> str:
    text = read_bootstrap()
    if _SUBSTITUTED.search(text):
        raise AssertionError("the bootstrap contains text that Batch substitutes in a command: Ref::, $( or $$")
    return text


def _pairs(environment: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in environment.items()]
