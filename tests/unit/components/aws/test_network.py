"""AWS's Network: resources and rules for each egress, in an update and in a preview with unknown outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from gpuyard.components.aws import EncryptionKey, GpuPool, Network
from gpuyard.components.aws.endpoints import INTERFACE

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
SERVICES = ["ec2", "ecr-api", "ecr-dkr", "ecs", "ecs-agent", "ecs-telemetry", "logs", "secretsmanager", "ssm", "ssmmessages"]
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
def test_tokens_and_child_names_do_not_change(record: Any, egress: str, more: list[Any], preview: bool) -> None:
    recorded = record(network(egress), preview=preview)
    assert names(recorded) == sorted([*COMMON, *more])
    urns = {request.name: urn for urn, request in recorded.resources.items() if not request.custom}
    assert all(request.parent in urns.values() for request in recorded.resources.values() if request.custom)


@pytest.mark.parametrize("preview", [False, True])
def test_outputs_are_known_only_after_an_update(record: Any, preview: bool) -> None:
    recorded = record(network(), preview=preview)
    assert set(recorded.outputs("Network")) == {"id", "subnet_ids", "security_group_id"}
    if preview:
        assert recorded.unknown == {"subnets", "group", "id"}
    else:
        assert recorded.exports["subnets"] == {zone: f"net-private-{zone}-id" for zone in ZONES}
        assert (recorded.exports["id"], recorded.exports["group"]) == ("net-vpc-id", "net-nodes-id")


def test_nodes_have_no_public_address_and_one_nat_gateway(record: Any) -> None:
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
def test_every_rule_is_described_and_no_other_port_is_open(record: Any, egress: str, out: dict[str, Any]) -> None:
    recorded = record(network(egress))
    rules = [(request.type, request.name) for request in recorded.resources.values() if request.type in (IN, OUT)]
    found = {(kind, name): recorded.inputs(kind, name) for kind, name in rules}
    assert all(rule.pop("description") and rule.pop("tags") for rule in found.values())
    itself = {"securityGroupId": "net-nodes-id", "referencedSecurityGroupId": "net-nodes-id", "ipProtocol": "-1"}
    wanted: dict[tuple[str, str], dict[str, object]] = {(IN, "net-nodes-in-self"): {**itself}, (OUT, "net-nodes-out-self"): {**itself}}
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
        assert group.keys() == {"description", "tags", "vpcId"}  # no inline rules, which would conflict with the separate ones
        assert group["vpcId"] == "net-vpc-id"
    default = recorded.inputs("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "net-default")
    assert (default["ingress"], default["egress"], default["vpcId"]) == ([], [], "net-vpc-id")


def test_gateway_endpoints_always_exist_and_interface_endpoints_only_with_egress_endpoints(record: Any) -> None:
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


def test_flow_logs_record_all_traffic_encrypted_and_with_a_narrow_role(record: Any) -> None:
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


def test_a_given_key_is_used_and_no_other_is_created(record: Any) -> None:
    recorded = record(lambda: network(key=EncryptionKey("logs", for_logs=True))())
    assert recorded.inputs("aws:cloudwatch/logGroup:LogGroup", "net-flow-log")["kmsKeyId"].endswith(":logs-key")
    assert [request.name for request in recorded.resources.values() if request.type == "aws:kms/key:Key"] == ["logs-key"]


@pytest.mark.parametrize("egress", ["nat", "endpoints", "none"])
def test_a_new_zone_changes_only_the_endpoints_subnets(record: Any, egress: str) -> None:
    before, after = (record(network(egress, zones)) for zones in (ZONES, [*ZONES, "us-east-1b"]))
    for urn, request in before.resources.items():
        old, new = request.object, after.resources[urn].object
        if request.type.startswith("aws:") and "subnetIds" not in old:
            assert old == new, urn
    added = sorted(request.name for urn, request in after.resources.items() if urn not in before.resources)
    assert added == ["net-private-us-east-1b"] * 2  # the subnet and its association with the route table


def test_another_first_zone_deletes_the_old_gateway_before_the_new_one_uses_its_address(record: Any) -> None:
    recorded = record(network("nat"))
    assert recorded.one("aws:ec2/natGateway:NatGateway", "net-nat").deleteBeforeReplace


def test_every_resource_that_can_have_tags_has_them(record: Any) -> None:
    recorded = record(network("endpoints"))
    untagged = {request.type for request in recorded.resources.values() if request.custom and "tags" not in request.object}
    assert untagged == {"aws:ec2/routeTableAssociation:RouteTableAssociation", "aws:iam/rolePolicy:RolePolicy", "aws:kms/alias:Alias"}
    assert recorded.inputs("aws:ec2/subnet:Subnet", "net-private-us-east-1a")["tags"] == {
        **TAGS,
        "Name": "net-private-us-east-1a",
        "stack": "gpuyard/local",
    }


def with_pools(egress: str, *specs: dict[str, Any]) -> Callable[[], None]:
    def program() -> None:
        net = Network("net", {"zones": ZONES, "egress": egress}, tags=TAGS)
        for index, spec in enumerate(specs):
            GpuPool(f"p{index}", {"service": "batch", "zone": ZONES[0], **spec}, network=net, tags=TAGS)

    return program


@pytest.mark.parametrize("egress", ["nat", "endpoints"])
def test_containers_of_multi_node_jobs_reach_the_same_addresses_as_nodes(record: Any, egress: str) -> None:
    """With EFA the containers are in the VPC's default group, which has no rule otherwise."""
    efa = {"machine": "g6.12xlarge", "max_nodes": 2}
    recorded = record(with_pools(egress, efa, efa))
    rules = {(request.type, request.name): recorded.inputs(request.type, request.name) for request in recorded.resources.values()}
    of_group: dict[str, list[Any]] = {}
    for (kind, _), rule in rules.items():
        if kind in (IN, OUT):
            words = {key: value for key, value in rule.items() if key not in ("description", "tags", "securityGroupId")}
            own = {key: "itself" if value == rule["securityGroupId"] else value for key, value in words.items()}
            of_group.setdefault(rule["securityGroupId"], []).append((kind, sorted(own.items())))
    assert sorted(of_group["net-default-id"]) == sorted(of_group["net-nodes-id"])
    if egress == "endpoints":
        sources = [dict(rule)["referencedSecurityGroupId"] for _, rule in of_group["net-endpoints-id"]]
        assert sorted(sources) == ["net-default-id", "net-nodes-id"]
    waits = recorded.one("aws:batch/computeEnvironment:ComputeEnvironment", "p0-environment").dependencies
    assert any(urn.endswith("::net-containers-in-self") for urn in waits)


@pytest.mark.parametrize("spec", [{"machine": "g6.xlarge", "max_nodes": 2}, {"machine": "g6.12xlarge", "max_nodes": 1}])
def test_the_default_group_stays_closed_without_multi_node_containers_in_it(record: Any, spec: dict[str, Any]) -> None:
    recorded = record(with_pools("nat", spec))
    assert not [request.name for request in recorded.resources.values() if "containers" in request.name]


def test_further_ports_of_the_internet_are_open_to_nodes_and_containers(record: Any) -> None:
    def program() -> None:
        net = Network("net", {"zones": ZONES, "egress_ports": [22, 80]}, tags=TAGS)
        GpuPool("p", {"service": "batch", "zone": ZONES[0], "machine": "g6.12xlarge", "max_nodes": 2}, network=net, tags=TAGS)

    recorded = record(program)
    for group in ("nodes", "containers"):
        for port in (22, 80):
            rule = recorded.inputs(OUT, f"net-{group}-out-port-{port}")
            assert (rule["cidrIpv4"], rule["fromPort"], rule["toPort"]) == ("0.0.0.0/0", port, port)
