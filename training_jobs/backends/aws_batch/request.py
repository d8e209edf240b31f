"""The exact bodies that start a run on AWS Batch. Pure: a Run in, plain data out.

The job definition holds what jobs of one pool and image share, under a name that is its content's digest, so that equal
content is registered once. What belongs to one run goes into the submission's overrides.
"""

from __future__ import annotations

import re
from typing import Any

from ....problems import Problem
from ...clouds.aws import tags_of
from ...errors import UsageError
from ...run import Run, digest
from ...target import BatchTarget
from ..base import Request, container_image, read_bootstrap, run_variables

GRACE_S = 25  # the agent sends SIGKILL 30 s after SIGTERM; the rest is for the result
SHORTEST_S = 60  # Batch takes no shorter time limit
_MOST_ATTEMPTS = 10
_NODES = "0:"  # an open range: the number of nodes is the submission's
_TRANSLATED = re.compile(r"Ref::|\$\(|\$\$")

Body = dict[str, Any]


def requests(run: Run, target: BatchTarget) -> list[Request]:
    """RegisterJobDefinition, made only where no such definition is active, and SubmitJob. Raises UsageError."""
    _refuse_the_impossible(run, target)
    definition = _definition(run, target)
    return [Request("RegisterJobDefinition", definition), Request("SubmitJob", _submission(run, target, definition))]


def job_name(run: Run) -> str:
    """The deterministic name of a submission: how it is found again. Batch's names have no dots."""
    return f"{run.id}-{run.ordinal}"


def definitions_prefix(target: BatchTarget) -> str:
    """With which the definitions of a pool begin."""
    return f"{target.job_prefix}{re.sub(r'[^A-Za-z0-9_-]', '-', target.pool)[:60]}-"


def _refuse_the_impossible(run: Run, target: BatchTarget) -> None:
    if run.spec.nodes > 1 and target.spot:
        fix = "use nodes: 1, an on-demand pool, or a pool with service: sagemaker, which has multi-node spot"
        problem = Problem("nodes", "AWS Batch runs multi-node jobs on no spot machines", str(run.spec.nodes), "1", fix)
        raise UsageError(f"job '{run.spec.name}' cannot run on pool '{target.pool}'", [problem])


def _definition(run: Run, target: BatchTarget) -> Body:
    container = _container(container_image(run), target)
    if run.spec.nodes > 1:
        group = {"targetNodes": _NODES, "container": container}
        shape: Body = {"type": "multinode", "nodeProperties": {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": [group]}}
    else:
        shape = {"type": "container", "platformCapabilities": ["EC2"], "containerProperties": container}
    shape |= {"propagateTags": True, "tags": {"stack": target.stack, "pool": target.pool}}
    return {"jobDefinitionName": f"{definitions_prefix(target)}{digest(shape)[:16]}", **shape}


def _container(image: str, target: BatchTarget) -> Body:
    needs = {"VCPU": target.vcpus, "MEMORY": target.memory_mib} | ({"GPU": target.gpus_per_node} if target.gpus_per_node else {})
    adapters = [f"/dev/infiniband/uverbs{index}" for index in range(target.nics_per_node)]
    environment = {"GPUYARD_SERVICE": "batch", "GPUYARD_GRACE_S": str(GRACE_S), "AWS_DEFAULT_REGION": target.region}
    return {
        "image": image,
        "command": ["python3", "-c", _bootstrap()],
        "jobRoleArn": target.job_role,
        "executionRoleArn": target.execution_role,
        "environment": _pairs(environment),
        "resourceRequirements": [{"type": kind, "value": str(value)} for kind, value in needs.items()],
        "linuxParameters": {
            "initProcessEnabled": True,  # something has to reap what a user's script leaves behind
            "sharedMemorySize": max(64, target.memory_mib // 2),  # data loaders and NCCL share memory
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


def _submission(run: Run, target: BatchTarget, definition: Body) -> Body:
    strategy = _retries(run, target)
    environment = run_variables(run)
    if strategy["attempts"] > 1:  # Batch counts each attempt's time anew: launch keeps the sum
        environment["GPUYARD_LIMIT_S"] = str(run.limit_s)
    own = {"environment": _pairs(environment)}
    override: Body = {"containerOverrides": own}
    if run.spec.nodes > 1:
        group = {"targetNodes": _NODES, "containerOverrides": own}
        override = {"nodeOverrides": {"numNodes": run.spec.nodes, "nodePropertyOverrides": [group]}}
    return {
        "jobName": job_name(run),
        "jobQueue": target.job_queue,
        "jobDefinition": definition["jobDefinitionName"],  # its newest active revision; all have this content
        **override,
        "retryStrategy": strategy,
        "timeout": {"attemptDurationSeconds": max(run.limit_s, SHORTEST_S)},
        "propagateTags": True,
        "tags": tags_of(run),
    }


def _retries(run: Run, target: BatchTarget) -> Body:
    """The service's share of the allowance: what it tries again by itself.

    It counts attempts, not kinds of ends; where both kinds are allowed it gets the smaller allowance, so that it overspends
    neither. The rest is spent by whoever waits, or by the next submit. Without a rule that matches Batch would try again.
    """
    retries = run.retries
    lost = "preempted" if target.spot else "infra"  # what a machine that goes away is on this pool
    allowed = {"preempted": retries.preempted, "infra": retries.infra}
    share = min([count for count in allowed.values() if count], default=0)
    rules = [
        ("preempted", {"onExitCode": "75"}),
        (lost, {"onStatusReason": "Host EC2*"}),
        ("infra", {"onExitCode": "69"}),
    ]
    again = [{**rule, "action": "RETRY"} for kind, rule in rules if allowed[kind]]
    return {"attempts": min(1 + share, _MOST_ATTEMPTS), "evaluateOnExit": [*again, {"onReason": "*", "action": "EXIT"}]}


def _bootstrap() -> str:
    text = read_bootstrap()
    if _TRANSLATED.search(text):
        raise AssertionError("the bootstrap holds what Batch would replace in a command: Ref::, $( or $$")
    return text


def _pairs(environment: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in environment.items()]
