"""AWS's Network: adoption of an existing network, wrong inputs, the provider's region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from pulumi.output import Unknown

from gpuyard.components.aws import EncryptionKey, Network

ZONES = ["us-east-1a", "us-east-1c"]
TAGS = {"owner": "ml-platform@acme.io"}
IN, OUT = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"


def adopted() -> None:
    found = Network.adopt("net", vpc_id="vpc-1", subnet_ids={"us-east-1-atl-2a": pulumi.Output.from_input("subnet-1")}, tags=TAGS)
    assert (found.zones, found.egress) == (["us-east-1-atl-2a"], None)
    pulumi.export("all", [found.id, found.subnet_ids["us-east-1-atl-2a"]])


@pytest.mark.parametrize("preview", [False, True])
def test_an_adopted_network_gets_the_nodes_group_and_nothing_else(record: Any, preview: bool) -> None:
    recorded = record(adopted, preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == [
        ("aws:ec2/securityGroup:SecurityGroup", "net-nodes"),
        (OUT, "net-nodes-out-internet"),
        (OUT, "net-nodes-out-self"),
        (IN, "net-nodes-in-self"),
        ("gpuyard-aws:index:Network", "net"),
    ]
    assert recorded.lookups == []
    assert recorded.exports["all"] == ["vpc-1", "subnet-1"]
    assert recorded.inputs("aws:ec2/securityGroup:SecurityGroup", "net-nodes")["vpcId"] == "vpc-1"
    assert recorded.inputs(OUT, "net-nodes-out-internet")["cidrIpv4"] == "0.0.0.0/0"


def test_ids_of_another_stack_are_unknown_in_a_preview(record: Any) -> None:
    def program() -> None:
        company = pulumi.StackReference("acme/network/prod")
        Network.adopt("net", vpc_id=company.get_output("vpc"), subnet_ids={"us-east-1b": company.get_output("b")})

    recorded = record(program, preview=True)
    assert isinstance(recorded.inputs("aws:ec2/securityGroup:SecurityGroup", "net-nodes")["vpcId"], Unknown)
    with pytest.raises(pulumi.RunError, match=r"vpc_id: not an EC2 id, got nothing, allowed: an id that begins with vpc-"):
        record(program)  # the other stack has no such output, and EC2 would use the default VPC


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda: Network("net"), ["Network net: 1 problem", "zones: no zone, got none, allowed: at least one"]),
        (
            lambda: Network("sg-x", {"cidr": "10.0.0.0/24", "zones": ["us-west-2a", "us-east-1-atl-2a"]}, key=EncryptionKey("k")),
            [
                "Network sg-x: 5 problems, nothing was changed",
                "name: EC2 rejects security groups whose names begin with sg-, got 'sg-x'",
                "cidr: wrong network size, got '10.0.0.0/24', allowed: a network of /16 to /20; write 10.0.0.0/20",
                "write us-east-1a",
                "Network.adopt",
                "for_logs=True",
            ],
        ),
        (
            lambda: Network("net", {"cidr": "8.8.0.0/16", "zones": [1]}),
            ["cidr: wrong value, got '8.8.0.0/16'", 'zones.0: a number where text belongs, got 1; quote it: "1"'],
        ),
        (
            lambda: Network("Net", {"zones": ["us-west-2a"], "egres": "none", "cidr": "10.0.0.0/8"}),
            [
                "Network Net: 4 problems",
                "name: not a valid name, got 'Net'",
                "did you mean 'egress'?",
                "zones of us-east-1",
                "cidr: wrong network size, got '10.0.0.0/8'",
            ],
        ),
        (
            lambda: Network.adopt("net", vpc_id="net-1", subnet_ids={}),
            ["vpc_id: not an EC2 id, got 'net-1'", "subnet_ids: no subnet, got none"],
        ),
        (
            lambda: Network.adopt("sg", vpc_id="vpc-1", subnet_ids={"a": "eni-1"}),
            ["name: EC2 rejects security groups whose names begin with sg-, got 'sg'", "subnet_ids.a: not an EC2 id, got 'eni-1'"],
        ),
        (lambda: Network("net", {"zones": ZONES}, tags={"Stack": "x"}), ["tags: reserved key, got 'Stack'"]),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, program: Callable[[], Any], expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(program, config={"aws:region": "us-east-1"})
    assert all(text in str(caught.value) for text in expected), str(caught.value)
    assert caught.value.__cause__ is None


def test_the_configured_region_does_not_apply_to_another_provider(record: Any) -> None:
    def program() -> None:
        west = aws.Provider("west", region="us-west-2")
        Network("net", {"zones": ["us-west-2a"]}, opts=pulumi.ResourceOptions(provider=west))
        Network("two", {"zones": ["us-west-2a"]}, opts=pulumi.ResourceOptions(providers={"aws": west}))

    record(program, config={"aws:region": "us-east-1"})
