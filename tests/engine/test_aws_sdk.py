"""What the stand-in holds properties to is what the installed SDK says: names, nested types, what is required."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.standin import sdk

TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
GOOD = {
    "imageId": sdk.UNKNOWN,
    "userData": {sdk.SIGNATURE: sdk.SECRET, "value": "abc"},
    "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": "true", "volumeSize": 200}}],
    "networkInterfaces": [{"networkCardIndex": 0.0, "securityGroups": [sdk.UNKNOWN, "sg-1"]}],
    "tags": {"any": "word"},
}


@pytest.mark.parametrize(
    ("token", "values", "found"),
    [
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
        (TEMPLATE, {"userData": {sdk.SIGNATURE: sdk.SECRET, "value": 1}}, ["userData: str expected"]),
        ("aws:ec2/subnet:Subnet", {"cidrBlok": "10.0.0.0/18"}, ["vpcId: required", "cidrBlok: no such property"]),
        (
            "aws:iam/role:Role",
            {"assumeRolePolicy": {"Version": "2012-10-17", "Statement": [{"Efect": "Allow"}]}},
            ["assumeRolePolicy.Statement[0]"],
        ),
        ("aws:iam/role:Role", {"assumeRolePolicy": ["{}"]}, ["assumeRolePolicy: "]),
        ("aws:s3/bucketObjectv2:BucketObjectv2", {"bucket": "b", "source": "a path"}, ["source: asset expected"]),
        ("aws:s3/bucketObjectv2:BucketObjectv2", {"bucket": None}, ["bucket: required"]),
    ],
)
def test_problems(token: str, values: dict[str, Any], found: list[str]) -> None:
    told = sdk.problems(token, values)
    assert len(told) >= len(found)
    assert bool(told) is bool(found)
    for expected in found:
        assert any(line.startswith(expected) for line in told), told


def test_names_the_sdk_does_not_have() -> None:
    with pytest.raises(sdk.UnknownToken, match="no resource aws:ec2/subnot:Subnot"):
        sdk.problems("aws:ec2/subnot:Subnot", {})
    with pytest.raises(sdk.UnknownToken, match="no look-up aws:ec2/getSubnot:getSubnot"):
        sdk.look_up("aws:ec2/getSubnot:getSubnot")


def test_outputs_say_what_is_always_there() -> None:
    vpc = sdk.resource("aws:ec2/vpc:Vpc")
    assert vpc.outputs["arn"].required
    assert "arn" not in vpc.inputs
    assert not vpc.outputs["tags"].required
    assert set(sdk.look_up("aws:ssm/getParameter:getParameter").inputs) >= {"name", "withDecryption"}
