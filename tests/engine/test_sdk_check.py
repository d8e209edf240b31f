"""The stand-in provider checks properties as the installed SDK declares them: names, nested types, required properties."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from gpuyard.components.planning.recorder import properties
from gpuyard.components.planning.sdk_arguments import wrong_arguments
from tests.fakes.pulumi_provider import resource_rules, sdk_check

VNET = "azure-native:network:VirtualNetwork"
GROUP = "azure-native:network:NetworkSecurityGroup"
RULE = {"access": "Allow", "direction": "Inbound", "priority": 100}
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
GOOD = {
    "imageId": sdk_check.UNKNOWN,
    "userData": {sdk_check.SIGNATURE: sdk_check.SECRET, "value": "abc"},
    "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": "true", "volumeSize": 200}}],
    "networkInterfaces": [{"networkCardIndex": 0.0, "securityGroups": [sdk_check.UNKNOWN, "sg-1"]}],
    "tags": {"any": "word"},
}
LOADED = {"aws:ec2/subnet:Subnet", "aws:iam/role:Role", "aws:s3/bucketObjectv2:BucketObjectv2", TEMPLATE}
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    (TEMPLATE, GOOD, []),
    (
        TEMPLATE,
        {"blockDeviceMappings": [{"ebs": {"encrypted": True}}]},
        ["blockDeviceMappings[0].ebs.encrypted: str expected, got bool True"],
    ),
    (TEMPLATE, {"networkInterfaces": {"deviceIndex": 1}}, ["networkInterfaces: list expected"]),
    (TEMPLATE, {"networkInterfaces": [{"deviceIndex": 1.5}]}, ["networkInterfaces[0].deviceIndex: int expected"]),
    (TEMPLATE, {"tags": {"a": 1}}, ["tags.a: str expected"]),
    (TEMPLATE, {"metadataOptions": {"httpToken": "required"}}, ["metadataOptions.httpToken: no such property; there are httpEndpoint"]),
    (TEMPLATE, {"userData": {sdk_check.SIGNATURE: sdk_check.SECRET, "value": 1}}, ["userData: str expected"]),
    ("aws:ec2/subnet:Subnet", {"cidrBlok": "10.0.0.0/18"}, ["vpcId: required", "cidrBlok: no such property"]),
    (
        "aws:iam/role:Role",
        {"assumeRolePolicy": {"Version": "2012-10-17", "Statement": [{"Efect": "Allow"}]}},
        ["assumeRolePolicy.Statement[0]"],
    ),
    ("aws:iam/role:Role", {"assumeRolePolicy": ["{}"]}, ["assumeRolePolicy: "]),
    ("aws:s3/bucketObjectv2:BucketObjectv2", {"bucket": "b", "source": "a path"}, ["source: asset expected"]),
    ("aws:s3/bucketObjectv2:BucketObjectv2", {"bucket": None}, ["bucket: required"]),
    ("gcp:compute/network:Network", {"autoCreateSubnetworks": False, "params": {"resourceManagerTags": {"a": sdk_check.UNKNOWN}}}, []),
    ("gcp:compute/network:Network", {"autoCreateSubnets": False}, ["autoCreateSubnets: no such property"]),
    ("gcp:compute/instanceTemplate:InstanceTemplate", {"disks": [{"boot": "yes"}]}, ["machineType: required", "disks[0].boot: bool"]),
    (VNET, {"resourceGroupName": sdk_check.UNKNOWN, "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}, []),
    (VNET, {"resourceGroupName": "rg", "addressSpace": {"prefixes": []}}, ["addressSpace.prefixes: no such property"]),
    (GROUP, {"resourceGroupName": "rg", "securityRules": [{**RULE, "protocol": "*"}]}, []),
    (
        GROUP,
        {"resourceGroupName": "rg", "securityRules": [{**RULE, "protocol": "tpc"}]},
        ["securityRules[0].protocol: got 'tpc', there"],
    ),
    (VNET, {"resourceGroupName": "rg", "subnets": [{"natGateway": {"id": 7}}]}, ["subnets[0].natGateway.id: str expected"]),
]


@pytest.mark.parametrize(("token", "values", "found"), CASES)
def test_problems(token: str, values: dict[str, Any], found: list[str]) -> None:
    told = sdk_check.problems(token, values)
    assert len(told) >= len(found)
    assert bool(told) is bool(found)
    for expected in found:
        assert any(line.startswith(expected) for line in told), told


def test_the_plan_refuses_the_same() -> None:
    """The plan's check is independent of the provider's: it reads loaded classes, the provider's reads their source."""
    for service, token, values, found in ((token.split("/")[0].removeprefix("aws:"), *row) for row in CASES if (token := row[0]) in LOADED):
        getattr(import_module(f"pulumi_aws.{service}"), token.rpartition(":")[2])
        wire = json_format.ParseDict(values, struct_pb2.Struct())
        wrong = [line for line in found if not line.endswith(": required")]  # Python itself refuses these
        assert bool(wrong_arguments(token, properties(wire))) is bool(wrong), (token, values)


def test_names_that_the_sdk_does_not_have() -> None:
    with pytest.raises(sdk_check.UnknownToken, match="no resource aws:ec2/subnot:Subnot"):
        sdk_check.problems("aws:ec2/subnot:Subnot", {})
    with pytest.raises(sdk_check.UnknownToken, match="no look-up aws:ec2/getSubnot:getSubnot"):
        sdk_check.look_up("aws:ec2/getSubnot:getSubnot")
    with pytest.raises(sdk_check.UnknownToken, match="no resource azure-native:network:VirtualNet"):
        sdk_check.problems("azure-native:network:VirtualNet", {})
    with pytest.raises(sdk_check.UnknownToken, match="pulumi_random is not installed"):
        sdk_check.problems("random:index/randomId:RandomId", {})


def test_outputs_that_always_have_a_value() -> None:
    vpc = sdk_check.resource("aws:ec2/vpc:Vpc")
    assert vpc.outputs["arn"].required
    assert "arn" not in vpc.inputs
    assert not vpc.outputs["tags"].required
    assert set(sdk_check.look_up("aws:ssm/getParameter:getParameter").inputs) >= {"name", "withDecryption"}
    assert sdk_check.resource(VNET).outputs["name"].required
    assert sdk_check.resource("gcp:compute/network:Network").outputs["selfLink"].required
    assert set(sdk_check.look_up("gcp:compute/getNetwork:getNetwork").inputs) >= {"name", "project"}
    assert set(sdk_check.look_up("azure-native:authorization:getClientConfig").outputs) >= {"tenantId", "subscriptionId"}


@pytest.mark.parametrize("token", ["aws:s3/bucket:Bucket", "gcp:compute/network:Network", VNET])
def test_each_cloud_has_its_rules(token: str) -> None:
    shape = resource_rules.of(token)
    assert shape.key(token) in {*sdk_check.resource(token).inputs, *sdk_check.resource(token).outputs}
    made_id, where = shape.made(token, f"urn:pulumi:s::p::{token}::net", {"resourceGroupName": "rg"})
    assert made_id
    assert set(where) <= set(sdk_check.resource(token).outputs)
    assert shape.look_ups
    for look_up, answer in shape.look_ups.items():
        assert set(answer) <= set(sdk_check.look_up(look_up).outputs), look_up
