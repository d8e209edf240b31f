"""Programs for tests of the plan: components of AWS by type token and inputs, with a few raw resources below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from gpuyard.components.base import Component
from gpuyard.components.planning.recorder import record
from gpuyard.components.planning.yard import RecordedYard

TAGS = {"owner": "ml@acme.io", "expires": "2027-03-31"}
L4 = {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}


class Fake(Component):
    """A component without children: its type token and its inputs."""

    cloud = "aws"

    def __init__(self, kind: str, name: str, props: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> None:
        super().__init__(kind, name, props, TAGS if tags is None else tags, None)


def make_network(nats: int = 1, endpoints: int = 0, zones: int = 2) -> None:
    network = Fake("Network", "net", {"cidr": "10.40.0.0/16", "zones": ["us-east-1a", "us-east-1b"][:zones], "egress": "nat"})
    opts = network.child_options()
    vpc = aws.ec2.Vpc("net-vpc", cidr_block="10.40.0.0/16", opts=opts)
    subnets = [aws.ec2.Subnet(f"net-{n}", vpc_id=vpc.id, map_public_ip_on_launch=False, opts=opts) for n in range(zones)]
    for n in range(nats):
        address = aws.ec2.Eip(f"net-address-{n}", domain="vpc", opts=opts)
        aws.ec2.NatGateway(f"net-nat-{n}", allocation_id=address.id, subnet_id=subnets[0].id, opts=opts)
    for n in range(endpoints):
        ids = [subnet.id for subnet in subnets]
        aws.ec2.VpcEndpoint(f"net-e{n}", vpc_id=vpc.id, service_name="x", vpc_endpoint_type="Interface", subnet_ids=ids, opts=opts)
    aws.ec2.VpcEndpoint("net-s3", vpc_id=vpc.id, service_name="s3", vpc_endpoint_type="Gateway", opts=opts)


def make_bucket(name: str = "runs", encrypted: bool = True) -> None:
    component = Fake("Bucket", name, {"on_destroy": "delete"})
    opts = component.child_options()
    bucket = aws.s3.Bucket(f"{name}-bucket", opts=opts)
    if encrypted:
        rule = {"apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms"}}
        aws.s3.BucketServerSideEncryptionConfiguration(f"{name}-encryption", bucket=bucket.id, rules=[rule], opts=opts)
    aws.s3.BucketVersioning(f"{name}-versioning", bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=opts)


def make_pool(name: str, spec: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> None:
    Fake("GpuPool", name, spec, tags)


def make_template(name: str = "lt", **options: Any) -> None:
    good = {
        "network_interfaces": [{"device_index": 0, "associate_public_ip_address": "false"}],
        "block_device_mappings": [{"device_name": "/dev/xvda", "ebs": {"encrypted": "true"}}],
        "metadata_options": {"http_tokens": "required"},
    }
    aws.ec2.LaunchTemplate(name, **{**good, **options})


def make_jobs(**props: Any) -> None:
    Fake("JobService", "train", {"submitters": [], **props})


def make_budget(usd: float) -> None:
    Fake("Budget", "budget", {"owner": "ml@acme.io", "usd_per_month": usd})


def dev() -> None:
    """Declare a yard with two pools, one of them spot, one NAT gateway and a budget."""
    make_network()
    make_bucket()
    make_pool("l4", L4)
    make_pool("l4-spot", {**L4, "zone": "us-east-1b", "max_nodes": 1, "capacity": "spot"})
    make_jobs()
    make_budget(1500)
    key = aws.kms.Key("key")
    pulumi.export("key", key.arn)


MakeYard = Callable[..., RecordedYard]


@pytest.fixture
def yard(tmp_path: Path) -> MakeYard:
    """Record a program as a preview and read it as a yard."""

    def make(program: Callable[[], Any], region: str | None = "us-east-1") -> RecordedYard:
        recording = record(program, project="acme", stack="dev", root=tmp_path)
        assert recording.problems == []
        return RecordedYard("acme", "dev", {"aws": region}, recording)

    return make
