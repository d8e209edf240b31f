"""Stop a pool whose machines are replaced again and again: an EventBridge rule, a Step Functions state machine, an alarm for each pool.

A machine with broken hardware shuts itself down (boot.sh), and Batch or the Auto Scaling group launches another one, without end. Neither
service limits this. The state machine counts such machines in a metric. While the metric's alarm is set, it stops the pool.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict, PlainMapping
from ..base import this_stack
from ..naming import job_prefix
from .account import Account, AwsComponent
from .identity import Identity
from .policy import ArnScope, Statement
from .trust import Trust

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = [
    "EVENT_PATTERN",
    "WATCHED",
    "StoppedPool",
    "alarm_name",
    "limit_replacements",
    "start_statements",
    "state_machine",
    "stop_statements",
]

WATCHED = ("batch", "vms")
"""Services whose machines belong to the yard."""
# docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html; tags of a terminated machine disappear soon
EVENT_PATTERN: PlainDict = {
    "source": ["aws.ec2"],
    "detail-type": ["EC2 Instance State-change Notification"],
    "detail": {"state": ["shutting-down"]},
}
# The reason when the operating system shuts down, as boot.sh does: botocore's EC2 model, StateReason, read on 2026-12-01. Preemptions,
# and machines that Batch or a user terminates, have other reasons.
_REASON = "Client.InstanceInitiatedShutdown"
_NAMESPACE, _METRIC = "gpuyard", "Replacements"
_HOUR_S = 3600
# A new metric can take two minutes to be found, and CloudWatch evaluates an alarm once a minute:
# docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
_ALARM_DELAY_S = 180
_RETRY = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5, "MaxAttempts": 6, "BackoffRate": 2, "JitterStrategy": "FULL"}]


@dataclass(frozen=True)
class StoppedPool:
    """A pool that the state machine can stop."""

    machines: str
    """Tag `Name` of the pool's machines."""
    alarm: str
    """Name of the pool's alarm."""
    resource: str
    """ARN of the compute environment, or name of the Auto Scaling group."""
    service: str


def limit_replacements(parent: AwsComponent, pools: Sequence[GpuPool], account: Account) -> list[pulumi.Output[str]]:
    """Make what stops a pool that replaces more machines in an hour than its limit. Return the alarms' ARNs, in the order of `pools`."""
    if not pools:
        return []
    rule = aws.cloudwatch.EventRule(
        parent.child_name("shutdowns"),
        description=f"machines of {this_stack()} that shut down",
        event_pattern=json.dumps(EVENT_PATTERN),
        tags=parent.aws_tags("shutdowns"),
        opts=parent.child_options(),
    )
    alarms = [_alarm(parent, pool) for pool in pools]
    stopped = pulumi.Output.all(*(pool.id for pool in pools)).apply(
        lambda ids: [_stopped(pool, resource) for pool, resource in zip(pools, ids, strict=True)]
    )
    known = pulumi.Output.all(account.arn_scope, stopped)
    services = sorted({pool.spec.service for pool in pools})
    allowed = account.arn_scope.apply(lambda scope: stop_statements(scope, this_stack(), services))
    stops = _role(parent, "stop", "states.amazonaws.com", allowed, account)
    machine = aws.sfn.StateMachine(
        parent.child_name("replacements"),
        role_arn=stops.role_arn,
        definition=known.apply(lambda found: json.dumps(state_machine(found[0].partition, this_stack(), found[1]))),
        tags=parent.aws_tags("replacements"),
        opts=parent.child_options(),
    )
    starts = _role(parent, "count", "events.amazonaws.com", machine.arn.apply(start_statements), account)
    aws.cloudwatch.EventTarget(
        parent.child_name("shutdowns"),
        rule=rule.name,
        arn=machine.arn,
        role_arn=starts.role_arn,
        input_transformer={"input_paths": {"instance": "$.detail.instance-id"}, "input_template": '{"instance": <instance>}'},
        opts=parent.child_options(),
    )
    return alarms


def alarm_name(stack: str, machines: str) -> str:
    """Return the name of a pool's alarm. Pulumi must not choose it, because the state machine makes it from a machine's tag `Name`."""
    return f"{job_prefix(stack)}{machines}-replacements"


def state_machine(partition: str, stack: str, pools: Sequence[StoppedPool]) -> PlainDict:
    """Return the state machine in Amazon States Language. Its input is the id of a machine that shuts down.

    A machine starts it, not the alarm, so that it also stops a pool that a user restarts while the alarm is still set.
    """
    dimensions = [{"Name": "stack", "Value": stack}, {"Name": "pool", "Value.$": "$.machines[0]"}]
    one = {"MetricName": _METRIC, "Unit": "Count", "Value": 1, "Dimensions": dimensions}
    filters = [{"Name": "tag:stack", "Values": [stack]}, {"Name": "state-reason-code", "Values": [_REASON]}]
    alarm = {"AlarmNames.$": f"States.Array(States.Format('{alarm_name(stack, '{}')}', $.machines[0]))"}
    states: PlainDict = {
        "Find the machine": {
            **_call(partition, "ec2:describeInstances", {"InstanceIds.$": "States.Array($.instance)", "Filters": filters}),
            "Next": "Is it broken",
        },
        "Is it broken": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.Reservations[0]", "IsPresent": True, "Next": "Read its name"}],
            "Default": "Done",
        },
        "Read its name": {
            "Type": "Pass",
            "Parameters": {"machines.$": "$.Reservations[0].Instances[0].Tags[?(@.Key=='Name')].Value"},
            "Next": "Count it",
        },
        "Count it": {
            **_call(partition, "cloudwatch:putMetricData", {"Namespace": _NAMESPACE, "MetricData": [one]}),
            "ResultPath": None,
            "Next": "Wait for the alarm",
        },
        "Wait for the alarm": {"Type": "Wait", "Seconds": _ALARM_DELAY_S, "Next": "Read the alarm"},
        "Read the alarm": {
            **_call(partition, "cloudwatch:describeAlarms", alarm),
            "ResultSelector": {"states.$": "$.MetricAlarms[*].StateValue"},
            "ResultPath": "$.alarm",
            "Next": "Is it set",
        },
        "Is it set": {"Type": "Choice", "Choices": [_choice(pool) for pool in pools], "Default": "Done"},
        "Done": {"Type": "Succeed"},
        **{_stop_name(pool): {**_call(partition, *_stop(pool)), "End": True} for pool in pools},
    }
    return {"StartAt": "Find the machine", "States": states}


def stop_statements(scope: ArnScope, stack: str, services: Sequence[str]) -> list[Statement]:
    """Return the permissions of the state machine. `services`: those of the stack's pools.

    Resources are named by the tag `stack`: a list of the pools would exceed the length of a policy at about 50 pools.
    """
    mine = {"StringEquals": {"aws:ResourceTag/stack": stack}}
    stops = {
        "batch": ("batch:UpdateComputeEnvironment", scope.arn("batch", "compute-environment/*")),
        "vms": ("autoscaling:SuspendProcesses", scope.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")),
    }
    return [
        Statement(("ec2:DescribeInstances",), ("*",), why="finds the pool of a machine, and the reason why it shuts down"),
        Statement(
            ("cloudwatch:PutMetricData",), ("*",), {"StringEquals": {"cloudwatch:namespace": _NAMESPACE}}, "counts replaced machines"
        ),
        Statement(
            ("cloudwatch:DescribeAlarms",),
            (scope.arn("cloudwatch", f"alarm:{job_prefix(stack)}*"),),
            why="reads whether too many machines were replaced",
        ),
        *(
            Statement((action,), (resource,), mine, f"stops a `{service}` pool of the stack whose machines are broken")
            for service, (action, resource) in stops.items()
            if service in services
        ),
    ]


def start_statements(machine_arn: str) -> list[Statement]:
    """Return the permissions of the EventBridge rule."""
    return [Statement(("states:StartExecution",), (machine_arn,), why="starts the count when a machine shuts down")]


def _stopped(pool: GpuPool, resource: str) -> StoppedPool:
    machines = pool.child_name("node")
    return StoppedPool(machines, alarm_name(this_stack(), machines), resource, pool.spec.service)


def _alarm(parent: AwsComponent, pool: GpuPool) -> pulumi.Output[str]:
    suffix, machines = f"{pool.logical_name}-replacements", pool.child_name("node")
    alarm = aws.cloudwatch.MetricAlarm(
        parent.child_name(suffix),
        name=alarm_name(this_stack(), machines),
        alarm_description=pool.stop_message,
        namespace=_NAMESPACE,
        metric_name=_METRIC,
        dimensions={"stack": this_stack(), "pool": machines},
        statistic="Sum",
        period=_HOUR_S,
        evaluation_periods=1,
        comparison_operator="GreaterThanThreshold",
        threshold=pool.spec.replacement_limit,
        treat_missing_data="notBreaching",
        tags=parent.aws_tags(suffix),
        opts=parent.child_options(),
    )
    return pulumi.Output.from_input(alarm.arn)


def _choice(pool: StoppedPool) -> PlainDict:
    is_this = {"Variable": "$.machines[0]", "StringEquals": pool.machines}
    is_set = [{"Variable": "$.alarm.states[0]", "IsPresent": True}, {"Variable": "$.alarm.states[0]", "StringEquals": "ALARM"}]
    return {"And": [is_this, *is_set], "Next": _stop_name(pool)}


def _stop_name(pool: StoppedPool) -> str:
    return f"Stop {pool.machines}"


def _stop(pool: StoppedPool) -> tuple[str, PlainDict]:
    """Return the API call after which a pool starts no machines. Running machines and their jobs continue."""
    if pool.service == "batch":
        return "batch:updateComputeEnvironment", {"ComputeEnvironment": pool.resource, "State": "DISABLED"}
    return "autoscaling:suspendProcesses", {"AutoScalingGroupName": pool.resource, "ScalingProcesses": ["Launch"]}


def _call(partition: str, action: str, parameters: PlainMapping) -> PlainDict:
    """Return a call of an AWS API: docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html."""
    return {"Type": "Task", "Resource": f"arn:{partition}:states:::aws-sdk:{action}", "Parameters": dict(parameters), "Retry": _RETRY}


def _role(parent: AwsComponent, suffix: str, service: str, statements: pulumi.Input[Sequence[Statement]], account: Account) -> Identity:
    name, options = parent.child_name(suffix), parent.child_options()
    return Identity(name, trust=Trust(service=service), statements=statements, account=account, opts=options)
