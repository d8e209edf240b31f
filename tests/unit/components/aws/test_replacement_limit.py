"""A pool on AWS whose machines are replaced too often: its resources, and a drill of the state machine with moto's Step Functions."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.ec2.models import ec2_backends
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk import StateTaskServiceAwsSdk

from gpuyard.components.aws.replacement_limit import EVENT_PATTERN, StoppedPool, alarm_name, state_machine
from tests.helpers.aws_sample_yard import BATCH, declare

STACK, ACCOUNT, REGION = "acme/dev", "123456789012", "us-east-1"
BROKEN, PREEMPTED = "Client.InstanceInitiatedShutdown", "Server.SpotInstanceTermination"


class Account:
    """moto's account with a `batch` pool l4 and a `vms` pool lab, each with a limit of one replacement an hour."""

    def __init__(self) -> None:
        self.clients = {name: boto3.client(name, REGION) for name in ("ec2", "batch", "autoscaling", "cloudwatch", "stepfunctions", "iam")}
        role = self.clients["iam"].create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        made = self.clients["batch"].create_compute_environment(
            computeEnvironmentName="l4-environment", type="UNMANAGED", state="ENABLED", serviceRole=role
        )
        self._group()
        resources = (("l4", made["computeEnvironmentArn"], "batch"), ("lab", "lab-machines", "vms"))
        self.pools = [StoppedPool(f"{pool}-node", alarm_name(STACK, f"{pool}-node"), made, kind) for pool, made, kind in resources]
        for pool in self.pools:
            dimensions = [{"Name": "stack", "Value": STACK}, {"Name": "pool", "Value": pool.machines}]
            self.clients["cloudwatch"].put_metric_alarm(
                AlarmName=pool.alarm,
                Namespace="gpuyard",
                MetricName="Replacements",
                Dimensions=dimensions,
                Statistic="Sum",
                Period=3600,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
            )
        definition = state_machine("aws", STACK, self.pools)
        definition["States"]["Wait for the alarm"]["Seconds"] = 1
        for state in definition["States"].values():
            state.pop("Retry", None)
        self.machine = self.clients["stepfunctions"].create_state_machine(
            name="replacements", definition=json.dumps(definition), roleArn=role
        )["stateMachineArn"]

    def _group(self) -> None:
        zone = {"AvailabilityZones": [f"{REGION}a"], "MinSize": 0, "MaxSize": 0}
        self.clients["autoscaling"].create_launch_configuration(
            LaunchConfigurationName="c", ImageId="ami-12c6146b", InstanceType="g6.12xlarge"
        )
        self.clients["autoscaling"].create_auto_scaling_group(AutoScalingGroupName="lab-machines", LaunchConfigurationName="c", **zone)

    def lose(self, *lost: tuple[str, str, str]) -> None:
        """Shut machines down, each of a pool and stack and for a reason, and deliver EC2's events to the state machine."""
        started = [self._start(*each) for each in lost]
        running = True
        while running:
            self._evaluate_alarms()
            states = [self.clients["stepfunctions"].describe_execution(executionArn=arn)["status"] for arn in started]
            running = "RUNNING" in states
            time.sleep(0.05)
        assert set(states) == {"SUCCEEDED"}

    def _start(self, pool: str, stack: str, reason: str) -> str:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": f"{pool}-node"}, {"Key": "stack", "Value": stack}]}]
        made = self.clients["ec2"].run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=tags)
        found = made["Instances"][0]["InstanceId"]
        self.clients["ec2"].terminate_instances(InstanceIds=[found])
        ec2_backends[ACCOUNT][REGION].get_instance(found).state_reason.code = reason
        return str(
            self.clients["stepfunctions"].start_execution(stateMachineArn=self.machine, name=found, input=json.dumps({"instance": found}))[
                "executionArn"
            ]
        )

    def _evaluate_alarms(self) -> None:
        """Do what CloudWatch does once a minute."""
        now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
        for alarm in self.clients["cloudwatch"].describe_alarms()["MetricAlarms"]:
            keys = {key: alarm[key] for key in ("Namespace", "MetricName", "Dimensions", "Period")}
            asked = {**keys, "Statistics": ["Sum"], "StartTime": now - hour, "EndTime": now + hour}
            total = sum(point["Sum"] for point in self.clients["cloudwatch"].get_metric_statistics(**asked)["Datapoints"])
            state = "ALARM" if total > alarm["Threshold"] else "OK"
            self.clients["cloudwatch"].set_alarm_state(AlarmName=alarm["AlarmName"], StateValue=state, StateReason="evaluated")

    @property
    def stopped(self) -> list[str]:
        """The pools that start no machine."""
        [environment] = self.clients["batch"].describe_compute_environments()["computeEnvironments"]
        [group] = self.clients["autoscaling"].describe_auto_scaling_groups()["AutoScalingGroups"]
        found = ["l4"] if environment["state"] == "DISABLED" else []
        return [*found, *(["lab"] if [each["ProcessName"] for each in group["SuspendedProcesses"]] == ["Launch"] else [])]


def _with_small_letters(task: Any, parameters: dict[str, Any], *_: Any) -> None:
    """Rename the parameters of Batch, whose API begins them with a small letter. Step Functions requires a capital; moto renames none."""
    if task.resource.api_name == "batch":
        for name in list(parameters):
            assert name[0].isupper(), "docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html"
            parameters[name[0].lower() + name[1:]] = parameters.pop(name)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr(StateTaskServiceAwsSdk, "_normalise_parameters", _with_small_letters)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        yield Account()


def test_a_pool_stops_when_more_machines_are_replaced_than_its_limit(account: Account) -> None:
    account.lose(
        ("l4", STACK, BROKEN),
        ("lab", STACK, BROKEN),
        ("l4", STACK, PREEMPTED),
        ("l4", "acme/other", BROKEN),
    )
    assert account.stopped == []
    account.lose(("l4", STACK, BROKEN))
    assert account.stopped == ["l4"]
    account.clients["batch"].update_compute_environment(computeEnvironment="l4-environment", state="ENABLED")
    account.lose(("l4", STACK, BROKEN), ("lab", STACK, BROKEN))
    assert account.stopped == ["l4", "lab"], "a pool that was started while its alarm is still set stops again"


@pytest.mark.parametrize("preview", [False, True])
def test_each_pool_with_machines_has_an_alarm(record: Any, preview: bool) -> None:
    recorded = record(declare, preview=preview)
    alarms = {each.name for each in recorded.resources.values() if each.type == "aws:cloudwatch/metricAlarm:MetricAlarm"}
    assert alarms == {"train-l4-replacements", "train-lab-replacements"}, "SageMaker's machines are not the yard's"


def test_the_alarm_has_the_pools_limit_and_message(record: Any) -> None:
    recorded = record(lambda: declare(pools={"l4": {**BATCH, "max_replacements_per_hour": 5}}))
    alarm = recorded.inputs("aws:cloudwatch/metricAlarm:MetricAlarm", "train-l4-replacements")
    assert (alarm["threshold"], alarm["period"], alarm["statistic"]) == (5, 3600, "Sum")
    assert alarm["alarmDescription"].startswith("pool l4 has stopped: more than 5 of its machines")
    assert alarm["name"] == alarm_name("gpuyard/local", "l4-node")
    rule = recorded.inputs("aws:cloudwatch/eventRule:EventRule", "train-shutdowns")
    assert json.loads(rule["eventPattern"]) == EVENT_PATTERN


def test_the_machines_have_the_name_that_the_alarm_is_found_by(record: Any) -> None:
    template = record(declare).inputs("aws:ec2/launchTemplate:LaunchTemplate", "l4-template")
    tags = [each["tags"] for each in template["tagSpecifications"] if each["resourceType"] == "instance"]
    assert [(each["Name"], each["stack"]) for each in tags] == [("l4-node", "gpuyard/local")]


def test_a_yard_without_machines_of_its_own_has_nothing_to_stop(record: Any) -> None:
    training = {"machine": "p5.48xlarge", "max_nodes": 4, "service": "sagemaker", "capacity": "spot", "price_usd_per_hour": 26.5}
    assert "aws:sfn/stateMachine:StateMachine" not in {
        each.type for each in record(lambda: declare(pools={"h100": training})).resources.values()
    }


def test_the_state_machine_may_stop_pools_of_its_stack_only(record: Any) -> None:
    recorded = record(declare)
    policy = json.loads(recorded.inputs("aws:iam/rolePolicy:RolePolicy", "train-stop-policy")["policy"])
    found = {action: (each["Resource"], each.get("Condition")) for each in policy["Statement"] for action in each["Action"]}
    mine = {"StringEquals": {"aws:ResourceTag/stack": "gpuyard/local"}}
    place = "us-east-1:111122223333"
    assert found["batch:UpdateComputeEnvironment"] == ([f"arn:aws:batch:{place}:compute-environment/*"], mine)
    assert found["autoscaling:SuspendProcesses"] == ([f"arn:aws:autoscaling:{place}:autoScalingGroup:*:autoScalingGroupName/*"], mine)
    [alarms] = found["cloudwatch:DescribeAlarms"][0]
    assert fnmatch(f"arn:aws:cloudwatch:{place}:alarm:{alarm_name('gpuyard/local', 'l4-node')}", alarms)
    assert recorded.inputs("aws:batch/computeEnvironment:ComputeEnvironment", "l4-environment")["tags"]["stack"] == "gpuyard/local"
    group = recorded.inputs("aws:autoscaling/group:Group", "lab-machines")
    assert {"key": "stack", "value": "gpuyard/local"}.items() <= next(tag for tag in group["tags"] if tag["key"] == "stack").items()


def test_a_yard_of_many_pools_has_a_policy_that_iam_accepts(record: Any) -> None:
    record(lambda: declare(submitters=(), pools={f"pool{number}": BATCH for number in range(120)}))
