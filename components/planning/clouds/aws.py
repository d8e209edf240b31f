"""The plan's rules for AWS resources: standing costs, budgets, quotas, and descriptions of networks and buckets."""

from __future__ import annotations

from collections.abc import Mapping

from gpuyard.counts import counted

from ...catalogue import Quota
from ..yard import RecordedComponent, RecordedPool, RecordedYard, Resource
from .aws_exposure import inbound_addresses, open_metadata, public_addresses, unencrypted
from .base import PlanRules, Standing, root_disk

__all__ = ["RULES"]

_UNPRICED = {
    "aws:ec2/instance:Instance": "EC2 instance",
    "aws:ebs/volume:Volume": "EBS volume",
    "aws:ec2/capacityReservation:CapacityReservation": "capacity reservation",
    "aws:ec2/capacityBlockReservation:CapacityBlockReservation": "capacity block",
    "aws:eks/cluster:Cluster": "EKS cluster",
    "aws:fsx/lustreFileSystem:LustreFileSystem": "Lustre file system",
    "aws:efs/fileSystem:FileSystem": "EFS file system",
    "aws:lb/loadBalancer:LoadBalancer": "load balancer",
    "aws:rds/instance:Instance": "database",
    "aws:sagemaker/domain:Domain": "SageMaker domain",
    "aws:sagemaker/notebookInstance:NotebookInstance": "SageMaker notebook",
}


def _standing(yard: RecordedYard) -> list[Standing]:
    return [
        Standing("nat_gateway", "NAT gateway", _gateways(yard)),
        Standing("public_ipv4", "public IPv4 address", len(yard.of("aws:ec2/eip:Eip"))),
        Standing("interface_endpoint", "interface endpoint (per zone)", _endpoints(yard), "interface endpoints (per zone)"),
        Standing("kms_key", "KMS key", len(yard.of("aws:kms/key:Key"))),
    ]


def _gateways(yard: RecordedYard) -> int | None:
    """Return the number of NAT gateways. None if a gateway is regional: AWS bills it per zone, and a plan does not know its zones."""
    gateways = yard.of("aws:ec2/natGateway:NatGateway")
    return None if any(gateway.inputs.get("availabilityMode") == "regional" for gateway in gateways) else len(gateways)


def _endpoints(yard: RecordedYard) -> int | None:
    zones = [
        _zones(endpoint) for endpoint in yard.of("aws:ec2/vpcEndpoint:VpcEndpoint") if endpoint.inputs.get("vpcEndpointType") == "Interface"
    ]
    return None if any(number is None for number in zones) else sum(number or 0 for number in zones)


def _zones(endpoint: Resource) -> int | None:
    subnets = endpoint.inputs.get("subnetIds", [])
    return len(subnets) if isinstance(subnets, list) else None


def _budgets(yard: RecordedYard) -> list[float]:
    amounts = [raw.inputs.get("limitAmount") for raw in yard.of("aws:budgets/budget:Budget") if _is_monthly_usd(raw)]
    return [float(amount) for amount in amounts if isinstance(amount, int | float | str)]


def _is_monthly_usd(budget: Resource) -> bool:
    given = budget.inputs
    return (given.get("budgetType"), given.get("timeUnit"), given.get("limitUnit")) == ("COST", "MONTHLY", "USD")


def _own_quota(pool: RecordedPool) -> Quota | None:
    if pool.spec.service != "sagemaker":
        return None
    kind = "spot training job" if pool.spec.mode == "spot" else "training job"
    machine = pool.machine.name if pool.machine else pool.spec.machine
    return Quota(code=None, name=f"{pool.spec.service}: ml.{machine} for {kind} usage", unit="nodes", per_node=1)


def _subnets(zones: list[object]) -> str:
    return counted(len(zones), "private subnet")


def _traits(component: RecordedComponent, below: Mapping[str, int]) -> list[str]:
    encrypted = any("ncryption" in kind for kind in below)
    return ["s3", "encrypted" if encrypted else "", "versioned" if below.get("aws:s3/bucketVersioning:BucketVersioning") else ""]


RULES = PlanRules(
    standing=_standing,
    unpriced=_UNPRICED,
    budgets=_budgets,
    own_quota=_own_quota,
    disk=lambda pool, _yard: root_disk(pool, "gp3"),
    public_addresses=public_addresses,
    inbound_addresses=inbound_addresses,
    unencrypted=unencrypted,
    open_metadata=open_metadata,
    network="aws:ec2/vpc:Vpc",
    nat="aws:ec2/natGateway:NatGateway",
    subnets=_subnets,
    bucket="aws:s3/bucket:Bucket",
    traits=_traits,
    fast_card="EFA",
)
