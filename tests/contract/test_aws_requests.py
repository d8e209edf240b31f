"""The resources of the AWS components as requests of AWS's own API: botocore validates them, and moto creates those it supports."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]
import moto
import pytest

from tests.fakes.pulumi_provider import aws_rules, resource_rules, sdk_check
from tests.helpers import aws_api_requests, committed_stacks
from tests.security.rows import Row, resources_of

TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
# Types that moto does not create, or creates in another order than AWS. They are validated all the same.
NOT_IN_MOTO = frozenset({"CreatePlacementGroup", "ScheduleKeyDeletion", "UpdateComputeEnvironment"})


def refused(token: str, inputs: Mapping[str, Any]) -> str:
    """Return everything that the API's model refuses, as one text."""
    try:
        return "\n".join(line for request in aws_api_requests.requests(token, inputs, "id") for line in aws_api_requests.problems(request))
    except aws_api_requests.Misfit as error:
        return str(error)


@pytest.mark.parametrize(
    ("token", "inputs", "message"),
    [
        (TEMPLATE, {"networkInterfaces": [{"networkCard": 1}]}, "the API has no networkCard"),
        (TEMPLATE, {"networkInterfaces": [{"interfaceType": 7}]}, "Invalid type for parameter"),
        (TEMPLATE, {"metadataOptions": {"httpTokens": "require"}}, "got 'require', the API has optional, required"),
        (TEMPLATE, {"networkInterfaces": {"deviceIndex": 1}}, "a list in the API"),
        ("aws:batch/computeEnvironment:ComputeEnvironment", {"type": "MANAGD"}, "got 'MANAGD'"),
        (
            "aws:batch/jobQueue:JobQueue",
            {"name": "q", "priority": 1, "computeEnvironmentOrders": [{"order": 1}]},
            "Missing required parameter",
        ),
        ("aws:s3/bucketVersioning:BucketVersioning", {"bucket": "b", "versioningConfiguration": {"status": "On"}}, "got 'On'"),
        ("aws:kms/nothing:Nothing", {}, "no row has its API operations"),
    ],
)
def test_a_wrong_request_is_refused(token: str, inputs: dict[str, Any], message: str) -> None:
    assert message in refused(token, inputs)


@pytest.fixture(scope="module", params=committed_stacks.YARDS["aws"])
def yard(request: pytest.FixtureRequest) -> tuple[list[Row], dict[str, committed_stacks.Origin]]:
    answers = committed_stacks.TracedOutputs()
    return resources_of(committed_stacks.recorded(request.param, answers)), answers.origins


def test_every_property_exists_in_the_sdk(yard: tuple[list[Row], Any]) -> None:
    assert [f"{row.name} {line}" for row in yard[0] for line in sdk_check.problems(row.token, row.inputs)] == []


def test_every_request_exists_in_the_api(yard: tuple[list[Row], Any]) -> None:
    assert [f"{row.name}: {text}" for row in yard[0] if (text := refused(row.token, _named(row)))] == []


def test_every_call_of_a_schedule_exists_in_the_api(yard: tuple[list[Row], Any]) -> None:
    targets = [row.inputs["target"] for row in yard[0] if row.token == "aws:scheduler/schedule:Schedule"]
    assert targets, "dev-aws expires, and the block of prod-aws ends"
    for target in targets:
        assert aws_api_requests.problems(aws_api_requests.called(target["arn"], target["input"])) == []


def test_every_call_of_a_state_machine_exists_in_the_api(yard: tuple[list[Row], Any]) -> None:
    [machine] = [json.loads(row.inputs["definition"]) for row in yard[0] if row.token == "aws:sfn/stateMachine:StateMachine"]
    tasks = [state for state in machine["States"].values() if state["Type"] == "Task"]
    for task in tasks:
        text = json.dumps(task["Parameters"]).replace('.$": "States.Array(', '": ["').replace(')"', '"]').replace('.$"', '"')
        assert aws_api_requests.problems(aws_api_requests.called(task["Resource"], text)) == []
    assert {task["Resource"].rpartition(":")[2] for task in tasks} >= {"describeInstances", "putMetricData", "updateComputeEnvironment"}


def _named(row: Row) -> dict[str, Any]:
    """Return the inputs with the name that the provider generates if the program gave none."""
    label = aws_rules.NAME_OF.get(row.token, "name")
    inputs = dict(row.inputs)
    if label in sdk_check.resource(row.token).inputs and label not in inputs:
        name = f"{row.name}-{resource_rules.digits(row.token, row.name)[:7]}"
        inputs[label] = f"alias/{name}" if row.token.endswith(":Alias") else name
    return inputs


class Account:
    """moto's AWS, filled from recorded resources in the order of their declaration."""

    def __init__(self, origins: Mapping[str, committed_stacks.Origin]) -> None:
        self.ids: dict[committed_stacks.Origin, str] = {}  # recorded id or ARN -> moto's
        self._origins = origins
        self._pattern = re.compile("|".join(re.escape(value) for value in sorted(origins, key=len, reverse=True)))
        self._recorded = {origin: value for value, origin in origins.items()}

    def make(self, row: Row) -> None:
        """Create one resource."""
        origin = committed_stacks.Origin(row.token, row.name, "id")
        inputs = self._resolved(_named(row))
        for request in aws_api_requests.requests(row.token, inputs, "THE-NEW-ID"):
            if request.operation in NOT_IN_MOTO:
                continue
            made_id = self.ids.get(origin) or self._recorded.get(origin, "")
            parameters = json.loads(json.dumps(request.parameters).replace("THE-NEW-ID", made_id))
            if request.operation == "CreateComputeEnvironment":
                parameters.setdefault("serviceRole", _service_role())
                resources = parameters["computeResources"]
                resources.setdefault("securityGroupIds", _groups_of(resources["launchTemplate"]["launchTemplateId"]))
            answer = getattr(client(request.service), _method(request.operation))(**parameters)
            if request.result:
                self.ids[origin] = str(jmespath.search(request.result, answer))
                arn = _arn(answer)
                if arn:
                    self.ids[origin._replace(attribute="arn")] = arn

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._pattern.sub(lambda match: self.ids.get(self._origins[match[0]], match[0]), value)
        if isinstance(value, Mapping):
            return {key: self._resolved(item) for key, item in value.items()}
        return [self._resolved(item) for item in value] if isinstance(value, list) else value


@functools.cache
def client(service: str) -> Any:
    """Return a client of moto's AWS. It must be created while moto is active."""
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")


def _groups_of(template: str) -> list[str]:
    """Return the security groups in a launch template. AWS uses them if an environment names none, and moto wants them there."""
    found = client("ec2").describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"][0]
    return [group for card in found["LaunchTemplateData"].get("NetworkInterfaces", []) for group in card["Groups"]][:1]


def _service_role() -> str:
    """Add AWS Batch's service-linked role, which AWS uses by default and moto requires."""
    iam = client("iam")
    if not (found := [role["Arn"] for role in iam.list_roles()["Roles"] if role["RoleName"] == "AWSServiceRoleForBatch"]):
        found = [iam.create_role(RoleName="AWSServiceRoleForBatch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]]
    return str(found[0])


def _method(operation: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", operation).lower()


def _arn(answer: Any) -> str | None:
    """Return the ARN in a response, under any of its names."""
    found = [value for key, value in _items(answer) if key.lower().endswith("arn") and isinstance(value, str)]
    return found[0] if found else None


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key, item
            yield from _items(item)


@pytest.mark.parametrize("stack", ["dev-aws"])
def test_moto_creates_the_yard(stack: str) -> None:
    answers = committed_stacks.TracedOutputs()
    rows = resources_of(committed_stacks.recorded(stack, answers))
    with moto.mock_aws():
        account = Account(answers.origins)
        # moto ignores a bucket policy's conditions and would refuse objects, but logging needs the policy
        late = ["aws:s3/bucketPolicy:BucketPolicy", "aws:s3/bucketLogging:BucketLogging"]
        for row in sorted(rows, key=lambda row: late.index(row.token) + 1 if row.token in late else 0):
            account.make(row)
        ec2, s3 = client("ec2"), client("s3")
        subnets = ec2.describe_subnets(Filters=[{"Name": "tag:stack", "Values": [f"gpuyard/{stack}"]}])["Subnets"]
        assert {subnet["AvailabilityZone"] for subnet in subnets} == {"us-east-1a", "us-east-1b"}
        assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets)
        groups = [row for row in rows if row.token == "aws:ec2/securityGroup:SecurityGroup"]
        for group in groups:
            found = account.ids[committed_stacks.Origin(group.token, group.name, "id")]
            rules = ec2.describe_security_groups(GroupIds=[found])["SecurityGroups"][0]["IpPermissions"]
            assert not any(rule.get("IpRanges") for rule in rules)
        for row in [row for row in rows if row.token == TEMPLATE]:
            made = account.ids[committed_stacks.Origin(row.token, row.name, "id")]
            data = ec2.describe_launch_template_versions(LaunchTemplateId=made)["LaunchTemplateVersions"][0]["LaunchTemplateData"]
            assert data["MetadataOptions"]["HttpTokens"] == "required"
            assert all(mapping["Ebs"]["Encrypted"] for mapping in data["BlockDeviceMappings"])
        for bucket in [row for row in rows if row.token == "aws:s3/bucket:Bucket"]:
            name = _named(bucket)["bucket"]
            assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
            assert s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
            assert s3.get_bucket_policy(Bucket=name)["Policy"]
