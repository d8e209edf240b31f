"""AWS's Notify: which events send a mail, and what the mail contains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from gpuyard.components.aws import Notify
from gpuyard.components.aws.notify import event_patterns
from tests.helpers.aws_sample_yard import BATCH, MACHINES, declare, gpu_pool

QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/q"
TARGET = "aws:cloudwatch/eventTarget:EventTarget"
ALARM = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:gpuyard-1a2b-l4-node-replacements"
PATTERNS = event_patterns([QUEUE], "gpuyard-1a2b-", [ALARM])


def matches(pattern: Any, event: Any) -> bool:
    """Evaluate a pattern as EventBridge does, for the operators that the component uses."""
    if isinstance(pattern, Mapping):
        return all(matches(rule, event.get(key) if isinstance(event, Mapping) else None) for key, rule in pattern.items())
    if isinstance(event, list):
        return any(matches(pattern, each) for each in event)
    return any(_one(rule, event) for rule in pattern)


def _one(rule: Any, value: Any) -> bool:
    if not isinstance(rule, Mapping):
        return bool(rule == value)
    if "exists" in rule:
        return (value is not None) is rule["exists"]
    if "prefix" in rule:
        return str(value).startswith(rule["prefix"])
    return value is not None and value not in rule["anything-but"]


def batch(kind: str = "Batch Job State Change", **detail: Any) -> dict[str, Any]:
    """Return an event as docs.aws.amazon.com/batch/latest/userguide/batch_cwe_events.html shows it, with other details."""
    return {"source": "aws.batch", "detail-type": kind, "detail": {"jobName": "j", "jobQueue": QUEUE, "status": "FAILED", **detail}}


def training(status: str, name: str = "gpuyard-1a2b-run") -> dict[str, Any]:
    detail = {"TrainingJobName": name, "TrainingJobStatus": status}
    return {"source": "aws.sagemaker", "detail-type": "SageMaker Training Job State Change", "detail": detail}


def alarm(state: str, arn: str = ALARM) -> dict[str, Any]:
    """Return an event as docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html shows it."""
    detail = {"state": {"value": state}, "configuration": {"description": "pool l4 has stopped"}}
    return {"source": "aws.cloudwatch", "detail-type": "CloudWatch Alarm State Change", "resources": [arn], "detail": detail}


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (batch(container={"exitCode": 1}), ("batch", "failed")),
        (batch(container={"exitCode": 75}), ("batch", "stopped")),
        (batch(nodeProperties={"numNodes": 2}), ("batch", "failed")),
        (batch("Batch Job Queue Blocked", status="RUNNABLE"), ("batch", "blocked")),
        (batch(status="RUNNING", container={}), None),
        (batch(jobQueue="arn:aws:batch:us-east-1:123456789012:job-queue/other", container={"exitCode": 1}), None),
        (alarm("ALARM"), ("pools", "blocked")),
        (alarm("OK"), None),
        (alarm("ALARM", f"{ALARM}-of-another"), None),
        (training("Failed"), ("sagemaker", "failed")),
        (training("Stopped"), ("sagemaker", "stopped")),
        (training("Failed", "somebody-elses"), None),
    ],
)
def test_an_event_matches_one_pattern_of_its_yard(event: Any, found: tuple[str, str] | None) -> None:
    assert [key for key, pattern in PATTERNS.items() if matches(pattern, event)] == ([found] if found else [])


def yard(**more: Any) -> Any:
    def program() -> None:
        jobs = declare()
        given = {"email": ["ml@acme.io"], "on": ["failed", "stopped", "idle", "blocked"], **more}
        Notify("notify", jobs=jobs, tags={"owner": "ml@acme.io"}, **given)

    return program


@pytest.mark.parametrize("preview", [False, True])
def test_resources(record: Any, preview: bool) -> None:
    recorded = record(yard(), preview=preview)
    made = [each for each in recorded.resources.values() if each.name.startswith("notify")]
    names = sorted(f"{each.type.rpartition(':')[2]} {each.name}" for each in made)
    rules = [
        f"notify-{rule}"
        for rule in ("batch-blocked", "batch-failed", "batch-stopped", "pools-blocked", "sagemaker-failed", "sagemaker-stopped")
    ]
    assert names == sorted(
        [
            "Notify notify",
            "Topic notify-topic",
            "TopicPolicy notify-policy",
            "TopicSubscription notify-mail-8533f9fe",
            *(f"{kind} {rule}" for rule in rules for kind in ("EventRule", "EventTarget")),
        ]
    )


def test_idle_machines_of_vms_pools_send_a_mail(record: Any) -> None:
    def program() -> None:
        lab = gpu_pool("lab", MACHINES)
        Notify("notify", email=["ml@acme.io"], on=["idle"], jobs=declare(pools={"l4": BATCH}), pools=[lab])

    alarm = record(program).inputs("aws:cloudwatch/metricAlarm:MetricAlarm", "notify-lab-idle")
    assert alarm["dimensions"] == {"AutoScalingGroupName": "lab-machines"}
    assert (alarm["threshold"], alarm["treatMissingData"]) == (5, "notBreaching")


def test_a_mail_has_no_command_and_no_environment(record: Any) -> None:
    recorded = record(yard())
    inputs = recorded.inputs(TARGET, "notify-batch-failed")
    assert set(inputs["inputTransformer"]["inputPaths"]) == {"job", "state", "reason"}
    assert json.loads(inputs["inputTransformer"]["inputTemplate"]).startswith("gpuyard gpuyard/local: <job> failed")
    assert recorded.inputs(TARGET, "notify-pools-blocked")["inputTransformer"] == {
        "inputPaths": {"message": "$.detail.configuration.description"},
        "inputTemplate": '"gpuyard gpuyard/local: <message>"',
    }
    policy = json.loads(recorded.inputs("aws:sns/topicPolicy:TopicPolicy", "notify-policy")["policy"])["Statement"][0]
    assert policy["Condition"] == {"StringEquals": {"aws:SourceAccount": "111122223333"}}


@pytest.mark.parametrize("wrong", [{"email": []}, {"email": ["nobody"]}, {"on": ["finished"]}])
def test_wrong_inputs_are_reported(record: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(pulumi.RunError, match=f"Notify notify: 1 problem[\\s\\S]*{next(iter(wrong))}"):
        record(yard(**wrong))
