"""Mail about a yard's jobs and idle machines: an SNS topic, its subscriptions, and the EventBridge rules and alarms that publish to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict, PlainMapping
from ..base import this_stack
from ..naming import job_prefix
from ..notify_base import NotifyBase, mail_suffix
from ..spec import NotifySpec
from .account import AwsComponent, look_up_account
from .gpu_pool import GpuPool
from .job_service import JobService

__all__ = ["Notify", "event_patterns"]

_PUBLISHERS = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
_STOPPED_CODE = 75  # a job's exit code for "resume me"
_IDLE = {"threshold": 5, "period": 300, "evaluation_periods": 12}
"""A machine is idle below 5 % CPU (threshold) in 12 periods of 300 seconds, one hour in all."""
# The job's name, state and reason only: an event has the whole job, with its command and environment.
_MESSAGES: Mapping[str, PlainMapping] = {
    "batch": {"job": "$.detail.jobName", "state": "$.detail.status", "reason": "$.detail.statusReason"},
    "sagemaker": {"job": "$.detail.TrainingJobName", "state": "$.detail.TrainingJobStatus", "reason": "$.detail.FailureReason"},
    "pools": {"message": "$.detail.configuration.description"},
}
_JOB_TEXT = "<job> {event} (<state>): <reason>"


class Notify(NotifyBase[JobService, GpuPool], AwsComponent):
    """Mail about jobs that are `failed`, `stopped` (resumable) or `blocked`, and about `idle` machines.

    `blocked`: the first job of a queue cannot run, or a pool stopped because too many of its machines were broken.

    AWS first mails a link to each address; the receiver must open it once. `idle` means less than 5 % CPU for an hour on machines of `vms`
    pools: Batch and SageMaker stop idle machines themselves. A mail contains only the job's name, state and reason.
    """

    topic_arn: pulumi.Output[str]
    """ARN of the SNS topic, for further subscriptions."""

    _output_names = ("topic_arn",)

    def _make(self, spec: NotifySpec, jobs: JobService, pools: Sequence[GpuPool]) -> None:
        """Make the topic and its rules."""
        # not encrypted: EventBridge and CloudWatch cannot publish to a topic under AWS's own key, and the messages are mailed in plain text
        topic = aws.sns.Topic(self.child_name("topic"), tags=self.aws_tags("topic"), opts=self.child_options())
        self.topic_arn = topic.arn
        self._allow_publishers()
        for address in spec.email:
            aws.sns.TopicSubscription(
                self.child_name(mail_suffix(address)), topic=topic.arn, protocol="email", endpoint=address, opts=self.child_options()
            )
        self._make_rules(spec, jobs)
        if "idle" in spec.on:
            self._make_alarms(pools)

    def _allow_publishers(self) -> None:
        policy = pulumi.Output.all(self.topic_arn, look_up_account(self).id).apply(
            lambda known: json.dumps(_topic_policy(known[0], known[1]))
        )
        aws.sns.TopicPolicy(self.child_name("policy"), arn=self.topic_arn, policy=policy, opts=self.child_options())

    def _make_rules(self, spec: NotifySpec, jobs: JobService) -> None:
        services = {"batch": bool(jobs.queue_arns), "sagemaker": jobs.trains, "pools": bool(jobs.alarm_arns)}
        for service, used in services.items():
            for event in spec.on if used else ():
                if event in _EVENTS[service]:
                    self._make_rule(service, event, jobs)

    def _make_rule(self, service: str, event: str, jobs: JobService) -> None:
        pattern = pulumi.Output.all(queues=jobs.queue_arns, alarms=jobs.alarm_arns).apply(
            lambda known: json.dumps(event_patterns(known["queues"], job_prefix(this_stack()), known["alarms"])[service, event])
        )
        suffix = f"{service}-{event}"
        rule = aws.cloudwatch.EventRule(
            self.child_name(suffix),
            description=f"{service} of {this_stack()}: {event}",
            event_pattern=pattern,
            tags=self.aws_tags(suffix),
            opts=self.child_options(),
        )
        text = "<message>" if service == "pools" else _JOB_TEXT.format(event=event)
        template = json.dumps(f"gpuyard {this_stack()}: {text}")
        aws.cloudwatch.EventTarget(
            self.child_name(suffix),
            rule=rule.name,
            arn=self.topic_arn,
            input_transformer={"input_paths": dict(_MESSAGES[service]), "input_template": template},
            opts=self.child_options(),
        )

    def _make_alarms(self, pools: Sequence[GpuPool]) -> None:
        for pool in pools:
            if pool.autoscaling_group_name is not None:
                suffix = f"{pool.logical_name}-idle"
                aws.cloudwatch.MetricAlarm(
                    self.child_name(suffix),
                    alarm_description=f"machines of pool {pool.logical_name} run and do nothing",
                    namespace="AWS/EC2",
                    metric_name="CPUUtilization",
                    dimensions={"AutoScalingGroupName": pool.autoscaling_group_name},
                    statistic="Maximum",
                    comparison_operator="LessThanThreshold",
                    treat_missing_data="notBreaching",  # a pool without machines has no data
                    alarm_actions=[self.topic_arn],
                    tags=self.aws_tags(suffix),
                    opts=self.child_options(),
                    **_IDLE,
                )


_EVENTS: Mapping[str, Sequence[str]] = {
    "batch": ("failed", "stopped", "blocked"),
    "sagemaker": ("failed", "stopped"),
    "pools": ("blocked",),
}


def event_patterns(queue_arns: Sequence[str], prefix: str, alarm_arns: Sequence[str]) -> dict[tuple[str, str], PlainDict]:
    """Return the EventBridge pattern of each service and event. `prefix`: prefix of the names of training jobs.

    `alarm_arns`: alarms for pools that replace too many machines and therefore stop.

    The event of a multi-node job has no exit code, so a stopped multi-node job counts as failed.
    docs.aws.amazon.com/batch/latest/userguide/batch_cwe_events.html and batch-job-queue-blocked-events.html;
    docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html;
    docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html; read on 2026-12-01.
    """
    queues = {"jobQueue": list(queue_arns)}
    other = [{"anything-but": [_STOPPED_CODE]}, {"exists": False}]
    training = {"TrainingJobName": [{"prefix": prefix}]}
    batch = _pattern("aws.batch", "Batch Job State Change")
    trained = _pattern("aws.sagemaker", "SageMaker Training Job State Change")
    return {
        ("batch", "failed"): {**batch, "detail": {**queues, "status": ["FAILED"], "container": {"exitCode": other}}},
        ("batch", "stopped"): {**batch, "detail": {**queues, "status": ["FAILED"], "container": {"exitCode": [_STOPPED_CODE]}}},
        ("batch", "blocked"): {**_pattern("aws.batch", "Batch Job Queue Blocked"), "detail": queues},
        ("pools", "blocked"): {
            **_pattern("aws.cloudwatch", "CloudWatch Alarm State Change"),
            "resources": list(alarm_arns),
            "detail": {"state": {"value": ["ALARM"]}},
        },
        ("sagemaker", "failed"): {**trained, "detail": {**training, "TrainingJobStatus": ["Failed"]}},
        ("sagemaker", "stopped"): {**trained, "detail": {**training, "TrainingJobStatus": ["Stopped"]}},
    }


def _pattern(source: str, kind: str) -> PlainDict:
    """Return a pattern for one source and detail type."""
    return {"source": [source], "detail-type": [kind]}


def _topic_policy(topic_arn: str, account: str) -> PlainDict:
    """Return the topic's policy: EventBridge and CloudWatch of this account may publish."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": _PUBLISHERS},
        "Action": "sns:Publish",
        "Resource": topic_arn,
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
