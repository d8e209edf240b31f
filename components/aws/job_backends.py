"""The parts of a job service for AWS Batch and for SageMaker: their resources and job targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict, PlainMapping
from ..base import this_stack
from ..naming import directory_name, job_prefix, shorten
from .account import Account, AwsComponent
from .identity import Identity, as_text
from .job_targets import TargetContext, batch_target, sagemaker_target, sagemaker_type
from .key import EncryptionKey
from .log_group import make_log_group
from .permissions import Storage, execution, job, sagemaker_job, write_logs
from .policy import Statement, policy_document
from .submitter import BatchAccess, SageMakerAccess
from .trust import Trust

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["BatchService", "Buckets", "SageMakerService", "grant_machines", "job_statements"]

_CANCEL_AFTER_S: Mapping[str, int] = {
    # misconfigured jobs are cancelled soon; jobs without capacity after a day, the maximum (submit's queue_timeout is shorter):
    # docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable_time_limit_actions.html
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT": 600,
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE": 600,
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY": 86_400,
}


@dataclass(frozen=True)
class Buckets:
    """The buckets of a job service, as outputs."""

    run: pulumi.Output[Storage]
    reads: list[pulumi.Output[Storage]]


class BatchService:
    """A queue for each pool, one log group, the job role and the execution role."""

    targets: pulumi.Output[PlainDict]
    access: pulumi.Output[BatchAccess]
    queue_arns: list[pulumi.Output[str]]

    def __init__(
        self,
        parent: AwsComponent,
        pools: Sequence[GpuPool],
        account: Account,
        context: pulumi.Output[TargetContext],
        buckets: Buckets,
        key: EncryptionKey | None,
        shares: Mapping[str, int],
    ) -> None:
        """Make the resources as children of `parent`. `shares`: share of each team; empty: jobs start in the order of submission."""
        group = make_log_group(parent, key, account)
        jobs = _identity(parent, "job", "ecs-tasks.amazonaws.com", job_statements(context, buckets), account)
        arn = pulumi.Output.all(context, group.name).apply(lambda known: str(known[0].scope.arn("logs", f"log-group:{known[1]}")))
        starts = pulumi.Output.all(context, arn).apply(lambda known: execution(known[0].scope, known[1], known[0].settings.image))
        starter = _identity(parent, "execution", "ecs-tasks.amazonaws.com", starts, account)
        policy = _scheduling_policy(parent, shares) if shares else None
        queues = {pool.logical_name: _queue(parent, pool, policy) for pool in pools}
        self.queue_arns = list(queues.values())
        for pool in pools:
            _ship_logs(parent, pool, arn)
        made = {"queues": queues, "job": jobs.role_arn, "execution": starter.role_arn, "name": group.name, "arn": arn}
        known = pulumi.Output.all(context=context, **made)
        self.targets = known.apply(lambda found: {pool.logical_name: _batch(pool, found) for pool in pools})
        self.access = known.apply(
            lambda found: BatchAccess(sorted(found["queues"].values()), found["arn"], sorted([found["job"], found["execution"]]))
        )


class SageMakerService:
    """The role of training jobs and a model package group. SageMaker starts the machines of each job."""

    targets: pulumi.Output[PlainDict]
    access: pulumi.Output[SageMakerAccess]

    def __init__(
        self, parent: AwsComponent, pools: Sequence[GpuPool], account: Account, context: pulumi.Output[TargetContext], buckets: Buckets
    ) -> None:
        """Make the resources as children of `parent`."""
        models = aws.sagemaker.ModelPackageGroup(
            parent.child_name("models"),
            model_package_group_name=_group_name(parent.logical_name),
            model_package_group_description=f"models of {this_stack()}",
            tags=parent.aws_tags("models"),
            opts=parent.child_options(),
        )
        places = {pool.logical_name: {"subnets": list(pool.subnet_ids), "group": pool.security_group_id} for pool in pools}
        own = pulumi.Output.all(context=context, run=buckets.run, models=models.model_package_group_name, places=places).apply(
            _training_statements
        )
        statements = pulumi.Output.all(job_statements(context, buckets), own).apply(lambda parts: [*parts[0], *parts[1]])
        role = _identity(parent, "training", "sagemaker.amazonaws.com", statements, account)
        made = {"role": role.role_arn, "places": places, "models": models.model_package_group_name}
        known = pulumi.Output.all(context=context, **made)
        self.targets = known.apply(lambda found: {pool.logical_name: _sagemaker(pool, found) for pool in pools})
        types, warm_s = [sagemaker_type(pool.spec) for pool in pools], max(pool.spec.keep_alive_minutes for pool in pools) * 60
        self.access = known.apply(lambda found: SageMakerAccess(found["role"], *_subnets_and_groups(found["places"]), types, warm_s))


def grant_machines(parent: AwsComponent, pools: Sequence[GpuPool], buckets: Buckets, secrets: Sequence[str]) -> None:
    """Give the machines of `vms` pools a job's permissions, because other launchers run jobs with the machine's role."""
    for pool in pools:
        statements = pulumi.Output.all(buckets.run, buckets.reads).apply(lambda known: job(known[0], known[1], secrets))
        _policy(parent, f"{pool.logical_name}-buckets", pool, statements)


def job_statements(context: pulumi.Output[TargetContext], buckets: Buckets) -> pulumi.Output[list[Statement]]:
    """Return the permissions of a job."""
    known = pulumi.Output.all(context=context, run=buckets.run, reads=buckets.reads)
    return known.apply(lambda found: job(found["run"], found["reads"], sorted(found["context"].settings.secrets.values())))


def _group_name(name: str) -> str:
    """Return a name for the model package group: at most 63 letters, digits and hyphens."""
    prefix, legal = job_prefix(this_stack()), directory_name(name)
    room = 63 - len(prefix)
    return f"{prefix}{legal if len(legal) <= room else shorten(legal, name, room)}"


def _identity(parent: AwsComponent, suffix: str, service: str, statements: pulumi.Output[list[Statement]], account: Account) -> Identity:
    name, trust = parent.child_name(suffix), Trust(service=service)
    return Identity(name, trust=trust, statements=statements, account=account, opts=parent.child_options())


def _scheduling_policy(parent: AwsComponent, shares: Mapping[str, int]) -> pulumi.Output[str]:
    """Make the policy that divides the machines between teams. In Batch, a lower weight factor gives a team more machines."""
    policy = aws.batch.SchedulingPolicy(
        parent.child_name("shares"),
        fair_share_policy={
            "share_distributions": [{"share_identifier": team, "weight_factor": 1 / share} for team, share in sorted(shares.items())]
        },
        tags=parent.aws_tags("shares"),
        opts=parent.child_options(),
    )
    return pulumi.Output.from_input(policy.arn)


def _queue(parent: AwsComponent, pool: GpuPool, policy: pulumi.Output[str] | None) -> pulumi.Output[str]:
    """Make a pool's queue. Batch cannot add a scheduling policy to a queue or remove it, so such a change replaces the queue.

    docs.aws.amazon.com/batch/latest/APIReference/API_CreateJobQueue.html, schedulingPolicyArn; read on 2026-12-01.
    """
    suffix = f"{pool.logical_name}-queue"
    queue = aws.batch.JobQueue(
        parent.child_name(suffix),
        state="ENABLED",
        priority=1,
        scheduling_policy_arn=policy,
        compute_environment_orders=[{"order": 1, "compute_environment": pool.compute_environment_arn}],
        job_state_time_limit_actions=[
            {"action": "CANCEL", "state": "RUNNABLE", "reason": reason, "max_time_seconds": seconds}
            for reason, seconds in _CANCEL_AFTER_S.items()
        ],
        tags=parent.aws_tags(suffix),
        opts=parent.child_options(replace_on_changes=["schedulingPolicyArn"]),
    )
    return pulumi.Output.from_input(queue.arn)


def _ship_logs(parent: AwsComponent, pool: GpuPool, group_arn: pulumi.Output[str]) -> None:
    """Let the pool's machines write logs: on EC2 the container runtime uses the machine's role, not the execution role."""
    statements = group_arn.apply(lambda arn: write_logs([arn], "the container runtime sends the output of jobs with the machine's role"))
    _policy(parent, f"{pool.logical_name}-logs", pool, statements)


def _policy(parent: AwsComponent, suffix: str, pool: GpuPool, statements: pulumi.Output[list[Statement]]) -> None:
    aws.iam.RolePolicy(
        parent.child_name(suffix),
        role=pool.node_role_name,
        policy=statements.apply(lambda known: as_text(f"GpuPool {pool.logical_name}", lambda: policy_document(known))),
        opts=parent.child_options(),
    )


def _batch(pool: GpuPool, found: PlainMapping) -> PlainDict:
    return batch_target(
        pool.logical_name,
        pool.spec,
        pool.tags.get("expires"),
        found["context"],
        queue=found["queues"][pool.logical_name],
        job_role=found["job"],
        execution_role=found["execution"],
        log_group=found["name"],
    )


def _sagemaker(pool: GpuPool, found: PlainMapping) -> PlainDict:
    at = found["places"][pool.logical_name]
    return sagemaker_target(
        pool.logical_name,
        pool.spec,
        pool.tags.get("expires"),
        found["context"],
        role=found["role"],
        subnet_ids=at["subnets"],
        security_group_id=at["group"],
        model_package_group=found["models"],
    )


def _subnets_and_groups(places: Mapping[str, PlainMapping]) -> tuple[list[str], list[str]]:
    return sorted({subnet for at in places.values() for subnet in at["subnets"]}), sorted({at["group"] for at in places.values()})


def _training_statements(found: PlainMapping) -> list[Statement]:
    context: TargetContext = found["context"]
    run: Storage = found["run"]
    subnets, groups = _subnets_and_groups(found["places"])
    return sagemaker_job(
        context.scope,
        run,
        job_prefix(context.settings.stack),
        subnet_arns=[context.scope.arn("ec2", f"subnet/{subnet}") for subnet in subnets],
        security_group_arns=[context.scope.arn("ec2", f"security-group/{group}") for group in groups],
        model_group_arn=context.scope.arn("sagemaker", f"model-package-group/{found['models']}"),
        image=context.settings.image,
    )
