"""AWS's Network: every resource and rule of each way out, in an update and in a preview where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from pulumi.output import Unknown

from components.aws import EncryptionKey, Network
from components.aws.endpoints import INTERFACE

ZONES = ["us-east-1a", "us-east-1c"]
TAGS = {"owner": "ml-platform@acme.io", "expires": "2027-03-31"}
IN, OUT = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
HTTPS: dict[str, Any] = {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443}
COMMON = [
    ("aws:cloudwatch/logGroup:LogGroup", "net-flow-log"),
    ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "net-default"),
    ("aws:ec2/flowLog:FlowLog", "net-flow-log"),
    ("aws:ec2/routeTable:RouteTable", "net-private"),
    ("aws:ec2/routeTableAssociation:RouteTableAssociation", "net-private-us-east-1a"),
    ("aws:ec2/routeTableAssociation:RouteTableAssociation", "net-private-us-east-1c"),
    ("aws:ec2/securityGroup:SecurityGroup", "net-nodes"),
    ("aws:ec2/subnet:Subnet", "net-private-us-east-1a"),
    ("aws:ec2/subnet:Subnet", "net-private-us-east-1c"),
    ("aws:ec2/vpc:Vpc", "net-vpc"),
    ("aws:ec2/vpcEndpoint:VpcEndpoint", "net-dynamodb"),
    ("aws:ec2/vpcEndpoint:VpcEndpoint", "net-s3"),
    ("aws:iam/role:Role", "net-flow-log-role"),
    ("aws:iam/rolePolicy:RolePolicy", "net-flow-log-policy"),
    ("aws:kms/alias:Alias", "net-key-alias"),
    ("aws:kms/key:Key", "net-key-key"),
    (OUT, "net-nodes-out-self"),
    (IN, "net-nodes-in-self"),
    ("gpuyard-aws:index:EncryptionKey", "net-key"),
    ("gpuyard-aws:index:Identity", "net-flow-log"),
    ("gpuyard-aws:index:Network", "net"),
]
NAT = [
    ("aws:ec2/eip:Eip", "net-nat"),
    ("aws:ec2/internetGateway:InternetGateway", "net-internet"),
    ("aws:ec2/natGateway:NatGateway", "net-nat"),
    ("aws:ec2/route:Route", "net-private-out"),
    ("aws:ec2/route:Route", "net-public-out"),
    ("aws:ec2/routeTable:RouteTable", "net-public"),
    ("aws:ec2/routeTableAssociation:RouteTableAssociation", "net-public-us-east-1a"),
    ("aws:ec2/subnet:Subnet", "net-public-us-east-1a"),
    (OUT, "net-nodes-out-internet"),
]
NONE = [(OUT, "net-nodes-out-dynamodb"), (OUT, "net-nodes-out-s3")]
SERVICES = ["ecr-api", "ecr-dkr", "ecs", "ecs-agent", "ecs-telemetry", "logs", "secretsmanager", "ssm", "ssmmessages"]
ENDPOINTS = [
    *NONE,
    *(("aws:ec2/vpcEndpoint:VpcEndpoint", f"net-{service}") for service in SERVICES),
    ("aws:ec2/securityGroup:SecurityGroup", "net-endpoints"),
    (OUT, "net-nodes-out-endpoints"),
    (IN, "net-endpoints-in-nodes"),
]


def network(egress: str = "nat", zones: list[str] | None = None, **more: Any) -> Callable[[], None]:
    def program() -> None:
        found = Network("net", {"zones": zones or ZONES, "egress": egress}, tags=TAGS, **more)
        pulumi.export("subnets", found.subnet_ids)
        pulumi.export("group", found.security_group_id)
        pulumi.export("id", found.id)
        assert (found.zones, found.egress) == (zones or ZONES, egress)

    return program


def names(recorded: Any) -> list[tuple[str, str]]:
    return sorted((request.type, request.name) for request in recorded.resources.values())


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(("egress", "more"), [("nat", NAT), ("endpoints", ENDPOINTS), ("none", NONE)])
def test_tokens_and_child_names_are_the_frozen_ones(record: Any, egress: str, more: list[Any], preview: bool) -> None:
    recorded = record(network(egress), preview=preview)
    assert names(recorded) == sorted([*COMMON, *more])
    urns = {request.name: urn for urn, request in recorded.resources.items() if not request.custom}
    assert all(request.parent in urns.values() for request in recorded.resources.values() if request.custom)


@pytest.mark.parametrize("preview", [False, True])
def test_outputs_are_known_after_an_update_alone(record: Any, preview: bool) -> None:
    recorded = record(network(), preview=preview)
    assert set(recorded.outputs("Network")) == {"id", "subnet_ids", "security_group_id"}
    if preview:
        assert recorded.unknown == {"subnets", "group", "id"}
    else:
        assert recorded.exports["subnets"] == {zone: f"net-private-{zone}-id" for zone in ZONES}
        assert (recorded.exports["id"], recorded.exports["group"]) == ("net-vpc-id", "net-nodes-id")


def test_nodes_have_no_public_address_and_one_way_out(record: Any) -> None:
    recorded = record(network())
    vpc = recorded.inputs("aws:ec2/vpc:Vpc", "net-vpc")
    assert (vpc["cidrBlock"], vpc["enableDnsHostnames"], vpc["enableDnsSupport"]) == ("10.0.0.0/16", True, True)
    for name, cidr in [
        ("private-us-east-1a", "10.0.0.0/19"),
        ("private-us-east-1c", "10.0.64.0/19"),
        ("public-us-east-1a", "10.0.224.0/28"),
    ]:
        subnet = recorded.inputs("aws:ec2/subnet:Subnet", f"net-{name}")
        assert (subnet["cidrBlock"], subnet["mapPublicIpOnLaunch"], subnet["availabilityZone"]) == (cidr, False, name.partition("-")[2])
        table = recorded.inputs("aws:ec2/routeTableAssociation:RouteTableAssociation", f"net-{name}")
        assert table == {"subnetId": f"net-{name}-id", "routeTableId": f"net-{name.partition('-')[0]}-id"}
    routes = {name: recorded.inputs("aws:ec2/route:Route", f"net-{name}-out") for name in ("private", "public")}
    assert routes["private"] == {"routeTableId": "net-private-id", "destinationCidrBlock": "0.0.0.0/0", "natGatewayId": "net-nat-id"}
    assert routes["public"] == {"routeTableId": "net-public-id", "destinationCidrBlock": "0.0.0.0/0", "gatewayId": "net-internet-id"}
    nat = recorded.inputs("aws:ec2/natGateway:NatGateway", "net-nat")
    assert (nat["allocationId"], nat["subnetId"]) == ("net-nat-id", "net-public-us-east-1a-id")
    assert recorded.inputs("aws:ec2/eip:Eip", "net-nat")["domain"] == "vpc"
    for kind in ("aws:ec2/eip:Eip", "aws:ec2/natGateway:NatGateway"):
        assert any(urn.endswith("Route::net-public-out") for urn in recorded.one(kind, "net-nat").dependencies)


@pytest.mark.parametrize(
    ("egress", "out"),
    [
        ("nat", {"internet": {"cidrIpv4": "0.0.0.0/0"}}),
        ("none", {"s3": {"prefixListId": "pl-net-s3"}, "dynamodb": {"prefixListId": "pl-net-dynamodb"}}),
        (
            "endpoints",
            {
                "s3": {"prefixListId": "pl-net-s3"},
                "dynamodb": {"prefixListId": "pl-net-dynamodb"},
                "endpoints": {"referencedSecurityGroupId": "net-endpoints-id"},
            },
        ),
    ],
)
def test_every_rule_is_described_and_nothing_else_is_open(record: Any, egress: str, out: dict[str, Any]) -> None:
    recorded = record(network(egress))
    rules = [(request.type, request.name) for request in recorded.resources.values() if request.type in (IN, OUT)]
    found = {(kind, name): recorded.inputs(kind, name) for kind, name in rules}
    assert all(rule.pop("description") and rule.pop("tags") for rule in found.values())
    itself = {"securityGroupId": "net-nodes-id", "referencedSecurityGroupId": "net-nodes-id", "ipProtocol": "-1"}
    wanted = {(IN, "net-nodes-in-self"): itself, (OUT, "net-nodes-out-self"): itself}
    wanted |= {(OUT, f"net-nodes-out-{name}"): {"securityGroupId": "net-nodes-id", **HTTPS, **to} for name, to in out.items()}
    if egress == "endpoints":
        wanted[IN, "net-endpoints-in-nodes"] = {
            "securityGroupId": "net-endpoints-id",
            "referencedSecurityGroupId": "net-nodes-id",
            **HTTPS,
        }
    assert found == wanted
    groups = [request.name for request in recorded.resources.values() if request.type == "aws:ec2/securityGroup:SecurityGroup"]
    for name in groups:
        group = recorded.inputs("aws:ec2/securityGroup:SecurityGroup", name)
        assert group.keys() == {"description", "tags", "vpcId"}  # no rule inside: it would fight with those outside
        assert group["vpcId"] == "net-vpc-id"
    default = recorded.inputs("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "net-default")
    assert (default["ingress"], default["egress"], default["vpcId"]) == ([], [], "net-vpc-id")


def test_gateway_endpoints_are_always_there_and_interface_ones_as_asked(record: Any) -> None:
    for egress in ("nat", "endpoints", "none"):
        recorded = record(network(egress))
        for service in ("s3", "dynamodb"):
            endpoint = recorded.inputs("aws:ec2/vpcEndpoint:VpcEndpoint", f"net-{service}")
            assert (endpoint["serviceName"], endpoint["vpcEndpointType"]) == (f"com.amazonaws.us-east-1.{service}", "Gateway")
            assert endpoint["routeTableIds"] == ["net-private-id"]
    recorded = record(network("endpoints"))
    for service in INTERFACE:
        endpoint = recorded.inputs("aws:ec2/vpcEndpoint:VpcEndpoint", f"net-{service.replace('.', '-')}")
        assert endpoint.pop("tags")
        assert endpoint == {
            "vpcId": "net-vpc-id",
            "serviceName": f"com.amazonaws.us-east-1.{service}",
            "vpcEndpointType": "Interface",
            "privateDnsEnabled": True,
            "subnetIds": [f"net-private-{zone}-id" for zone in ZONES],
            "securityGroupIds": ["net-endpoints-id"],
        }


def test_flow_logs_are_whole_encrypted_kept_and_written_by_a_narrow_role(record: Any) -> None:
    recorded = record(network())
    log = recorded.inputs("aws:ec2/flowLog:FlowLog", "net-flow-log")
    assert log.pop("tags")["stack"] == "gpuyard/local"
    assert log == {
        "vpcId": "net-vpc-id",
        "trafficType": "ALL",
        "maxAggregationInterval": 60,
        "logDestinationType": "cloud-watch-logs",
        "logDestination": "arn:aws:cloudwatch:us-east-1:111122223333:net-flow-log",
        "iamRoleArn": "arn:aws:iam:us-east-1:111122223333:net-flow-log-role",
    }
    group = recorded.inputs("aws:cloudwatch/logGroup:LogGroup", "net-flow-log")
    assert (group["retentionInDays"], group["kmsKeyId"]) == (365, "arn:aws:kms:us-east-1:111122223333:net-key-key")
    policy = json.loads(recorded.inputs("aws:iam/rolePolicy:RolePolicy", "net-flow-log-policy")["policy"])
    arn = "arn:aws:logs:us-east-1:111122223333:log-group:net-flow-log"
    assert [(statement["Action"], statement["Resource"]) for statement in policy["Statement"]] == [
        (["logs:CreateLogStream", "logs:PutLogEvents"], [f"{arn}:log-stream:*"]),
        (["logs:DescribeLogStreams"], [f"{arn}:*"]),
        (["logs:DescribeLogGroups"], [arn]),
    ]
    trust = json.loads(recorded.inputs("aws:iam/role:Role", "net-flow-log-role")["assumeRolePolicy"])
    assert trust["Statement"][0]["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}
    assert trust["Statement"][0]["Condition"]["ArnLike"] == {"aws:SourceArn": "arn:aws:ec2:us-east-1:111122223333:vpc-flow-log/*"}
    key = recorded.inputs("gpuyard-aws:index:EncryptionKey", "net-key")
    assert (key["for_logs"], key["on_destroy"]) == (True, "delete")


def test_a_key_that_is_handed_in_is_used_and_none_is_made(record: Any) -> None:
    recorded = record(lambda: network(key=EncryptionKey("logs", for_logs=True))())
    assert recorded.inputs("aws:cloudwatch/logGroup:LogGroup", "net-flow-log")["kmsKeyId"].endswith(":logs-key")
    assert [request.name for request in recorded.resources.values() if request.type == "aws:kms/key:Key"] == ["logs-key"]


@pytest.mark.parametrize("egress", ["nat", "endpoints", "none"])
def test_another_zone_changes_nothing_but_the_endpoints_subnets(record: Any, egress: str) -> None:
    before, after = (record(network(egress, zones)) for zones in (ZONES, [*ZONES, "us-east-1b"]))
    for urn, request in before.resources.items():
        old, new = request.object, after.resources[urn].object
        if request.type.startswith("aws:") and "subnetIds" not in old:
            assert old == new, urn
    added = sorted(request.name for urn, request in after.resources.items() if urn not in before.resources)
    assert added == ["net-private-us-east-1b"] * 2  # the subnet and its link to the routes


def test_tags_reach_everything_that_can_have_them(record: Any) -> None:
    recorded = record(network("endpoints"))
    untagged = {request.type for request in recorded.resources.values() if request.custom and "tags" not in request.object}
    assert untagged == {"aws:ec2/routeTableAssociation:RouteTableAssociation", "aws:iam/rolePolicy:RolePolicy", "aws:kms/alias:Alias"}
    assert recorded.inputs("aws:ec2/subnet:Subnet", "net-private-us-east-1a")["tags"] == {
        **TAGS,
        "Name": "net-private-us-east-1a",
        "stack": "gpuyard/local",
    }


def adopted() -> None:
    found = Network.adopt("net", vpc_id="vpc-1", subnet_ids={"us-east-1-atl-2a": pulumi.Output.from_input("subnet-1")}, tags=TAGS)
    assert (found.zones, found.egress) == (["us-east-1-atl-2a"], None)
    pulumi.export("all", [found.id, found.subnet_ids["us-east-1-atl-2a"]])


@pytest.mark.parametrize("preview", [False, True])
def test_an_adopted_network_gets_the_nodes_group_and_nothing_else(record: Any, preview: bool) -> None:
    recorded = record(adopted, preview=preview)
    assert names(recorded) == [
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
    with pytest.raises(pulumi.RunError, match=r"vpc_id: got None, allowed: an id that begins with vpc-"):
        record(program)  # the other stack has no such output: EC2 would take the default VPC


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (lambda: Network("net"), ["Network net: 1 problem", "zones: got none, allowed: at least one"]),
        (
            lambda: Network("sg-x", {"cidr": "10.0.0.0/24", "zones": ["us-west-2a", "us-east-1-atl-2a"]}, key=EncryptionKey("k")),
            [
                "Network sg-x: 5 problems, nothing was changed",
                "name: got 'sg-x', allowed: one that does not begin with sg-",
                "cidr: got '10.0.0.0/24', allowed: a network of /16 to /20; give 10.0.0.0/20",
                "give us-east-1a",
                "Network.adopt",
                "for_logs=True",
            ],
        ),
        (lambda: Network("net", {"cidr": "8.8.0.0/16", "zones": [1]}), ["cidr: got '8.8.0.0/16'", "zones.0: got 1"]),
        (lambda: Network.adopt("net", vpc_id="net-1", subnet_ids={}), ["vpc_id: got 'net-1'", "subnet_ids: got none"]),
        (lambda: Network.adopt("sg", vpc_id="vpc-1", subnet_ids={"a": "eni-1"}), ["name: got 'sg'", "subnet_ids.a: got 'eni-1'"]),
        (lambda: Network("net", {"zones": ZONES}, tags={"Stack": "x"}), ["tags: got the key 'Stack'"]),
    ],
)
def test_bad_input_is_told_whole_and_nothing_is_made(record: Any, program: Callable[[], Any], told: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(program, config={"aws:region": "us-east-1"})
    assert all(text in str(caught.value) for text in told), str(caught.value)
    assert caught.value.__cause__ is None


def test_the_settings_region_does_not_bind_a_network_with_another_provider(record: Any) -> None:
    def program() -> None:
        west = aws.Provider("west", region="us-west-2")
        Network("net", {"zones": ["us-west-2a"]}, opts=pulumi.ResourceOptions(provider=west))
        Network("two", {"zones": ["us-west-2a"]}, opts=pulumi.ResourceOptions(providers={"aws": west}))

    record(program, config={"aws:region": "us-east-1"})
