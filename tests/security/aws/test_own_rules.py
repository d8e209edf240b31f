"""Each of our own AWS rules refuses its bad example and passes the good one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.fakes.pulumi_provider import sdk_check
from tests.security.aws import own_rules
from tests.security.rows import Row
from tests.security.rules import wrong

TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
ENVIRONMENT = "aws:batch/computeEnvironment:ComputeEnvironment"
GOOD_TEMPLATE = {
    "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"encrypted": "true"}}],
    "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
    "networkInterfaces": [{"associatePublicIpAddress": "false"}],
    "userData": base64.b64encode(b"#!/bin/sh\nmount /data\n").decode(),
}
GOOD_ENVIRONMENT = {"type": "MANAGED", "computeResources": {"securityGroupIds": ["sg-1"], "instanceRole": "arn", "maxVcpus": 1}}


def document(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


def trust(**condition: str) -> str:
    return document(Principal={"Federated": "arn"}, Condition={"StringEquals": condition})


GOOD: list[tuple[str, dict[str, Any]]] = [
    (TEMPLATE, GOOD_TEMPLATE),
    (ENVIRONMENT, GOOD_ENVIRONMENT),
    (INGRESS, {"referencedSecurityGroupId": "sg-1", "ipProtocol": "-1"}),
    (EGRESS, {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "tcp", "fromPort": 443, "toPort": 443}),
    (EGRESS, {"referencedSecurityGroupId": "sg-1", "ipProtocol": "-1"}),
    ("aws:ec2/subnet:Subnet", {"mapPublicIpOnLaunch": False}),
    ("aws:ec2/flowLog:FlowLog", {"trafficType": "ALL"}),
    ("aws:iam/rolePolicy:RolePolicy", {"policy": document(Action=["s3:GetObject"], Resource="arn:aws:s3:::b/*")}),
    ("aws:iam/role:Role", {"assumeRolePolicy": trust(**{"x.io:sub": "repo:a/b", "x.io:aud": "sts.amazonaws.com"})}),
    ("aws:iam/role:Role", {"assumeRolePolicy": document(Principal={"Service": "ec2.amazonaws.com"})}),
    ("aws:autoscaling/group:Group", {"tags": [{"key": "a", "value": "b", "propagateAtLaunch": True}]}),
]
BAD: list[tuple[str, dict[str, Any], str]] = [
    (TEMPLATE, {**GOOD_TEMPLATE, "blockDeviceMappings": []}, "no disk is declared"),
    (TEMPLATE, {**GOOD_TEMPLATE, "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": 1}}]}, "is not encrypted"),
    (TEMPLATE, {**GOOD_TEMPLATE, "keyName": "me"}, "key pair"),
    (TEMPLATE, {**GOOD_TEMPLATE, "networkInterfaces": [{"associatePublicIpAddress": "true"}]}, "public address"),
    (
        TEMPLATE,
        {**GOOD_TEMPLATE, "metadataOptions": {"httpTokens": "optional"}},
        "the metadata service must require a token and a hop limit of 1, got",
    ),
    (TEMPLATE, {**GOOD_TEMPLATE, "userData": base64.b64encode(b"export WANDB_TOKEN=0123456789abcdef0123").decode()}, "secret"),
    (TEMPLATE, {**GOOD_TEMPLATE, "userData": "key AKIAIOSFODNN7EXAMPLA"}, "secret"),
    (ENVIRONMENT, {**GOOD_ENVIRONMENT, "type": "UNMANAGED"}, "not managed"),
    (ENVIRONMENT, {**GOOD_ENVIRONMENT, "computeResources": {"instanceRole": "arn"}}, "no security group"),
    (ENVIRONMENT, {**GOOD_ENVIRONMENT, "computeResources": {"securityGroupIds": ["sg-1"]}}, "its machines have no instance role"),
    (INGRESS, {"cidrIpv4": "10.0.0.0/8", "ipProtocol": "tcp"}, "it allows ingress from addresses: name a security group"),
    (
        "aws:ec2/securityGroup:SecurityGroup",
        {"ingress": [{"cidrBlocks": ["10.0.0.0/8"]}]},
        "it allows ingress from addresses: name a security group",
    ),
    (EGRESS, {"cidrIpv4": "0.0.0.0/0", "ipProtocol": "-1"}, "it allows egress to the internet other than HTTPS:"),
    ("aws:ec2/subnet:Subnet", {"mapPublicIpOnLaunch": True}, "public addresses"),
    ("aws:ec2/flowLog:FlowLog", {"trafficType": "REJECT"}, "it does not log all traffic"),
    ("aws:iam/rolePolicy:RolePolicy", {"policy": document(Action="s3:Get*", Resource="*")}, "actions contain a wildcard:"),
    ("aws:iam/policy:Policy", {"policy": document(NotAction="iam:CreateUser", Resource="*")}, "actions contain a wildcard:"),
    ("aws:iam/role:Role", {"assumeRolePolicy": trust(**{"x.io:aud": "sts.amazonaws.com"})}, "no subject is named"),
    ("aws:iam/role:Role", {"assumeRolePolicy": trust(**{"x.io:sub": "repo:a/b"})}, "another audience"),
    ("aws:iam/role:Role", {"assumeRolePolicy": document(Principal={"AWS": "*"})}, "any principal may assume it"),
    ("aws:s3/bucket:Bucket", {"bucket": "runs"}, "no policy refuses plain HTTP"),
    (
        "aws:autoscaling/group:Group",
        {"tags": [{"key": "a", "value": "b", "propagateAtLaunch": False}]},
        "its tags are not propagated to machines",
    ),
    (
        "aws:batch/jobDefinition:JobDefinition",
        {"nodeProperties": json.dumps({"nodeRangeProperties": [{"container": {"privileged": True}}]})},
        "privileged",
    ),
    (
        "aws:batch/jobDefinition:JobDefinition",
        {"containerProperties": json.dumps({"volumes": [{"host": {"sourcePath": "/var/run/docker.sock"}}]})},
        "docker.sock",
    ),
]


@pytest.mark.parametrize(("token", "inputs", "told"), BAD)
def test_the_bad_example_is_refused(token: str, inputs: dict[str, Any], told: str) -> None:
    assert told in "\n".join(wrong(own_rules.RULES, [Row(token, "bad", inputs)]))


@pytest.mark.parametrize(("token", "inputs"), GOOD)
def test_the_good_example_passes(token: str, inputs: dict[str, Any]) -> None:
    assert wrong(own_rules.RULES, [Row(token, "good", inputs)]) == []


def test_a_bucket_that_refuses_plain_http_passes() -> None:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::runs", "arn:aws:s3:::runs/*"]}
    policy = {"Statement": [{**deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}
    bucket = Row("aws:s3/bucket:Bucket", "runs", {})
    assert (
        wrong(own_rules.RULES, [bucket, Row("aws:s3/bucketPolicy:BucketPolicy", "p", {"bucket": "runs", "policy": json.dumps(policy)})])
        == []
    )


def test_every_rule_has_a_bad_example_of_a_type_in_the_sdk() -> None:
    for token in own_rules.RULES:
        assert sdk_check.resource(token).token == token
        assert token in {bad[0] for bad in BAD}
    for token, inputs, _ in BAD:
        assert not [line for line in sdk_check.problems(token, inputs) if not line.endswith(": required")], (
            "a bad example must be a possible one"
        )
