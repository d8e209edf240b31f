"""Sample AWS pools: specs of each kind, a network as a pool uses it, and the difference between two programs' resources."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pulumi

from gpuyard.components.aws.gpu_pool import GpuPool

LATER = "2999-03-31"
TAGS = {"owner": "me@acme.io", "expires": LATER, "team": "nlp"}
BATCH = {"service": "batch", "machine": "p5en.48xlarge", "zone": "us-east-1a", "max_nodes": 4}
VMS = {**BATCH, "service": "vms"}
BLOCK = {"mode": "capacity_block", "reservation": "cr-0123456789abcdef0", "ends": "2999-01-19T11:30:00Z"}
RESERVED = {"mode": "reservation", "reservation": "cr-0123456789abcdef0"}
TEMPLATE, ENVIRONMENT = "aws:ec2/launchTemplate:LaunchTemplate", "aws:batch/computeEnvironment:ComputeEnvironment"
GROUP, PLACEMENT = "aws:autoscaling/group:Group", "aws:ec2/placementGroup:PlacementGroup"


def network(egress: str = "nat") -> Any:
    """Return a network as a pool uses it. Its subnets and security group are outputs of other resources."""
    made = pulumi.Output.from_input
    subnets = {zone: made(f"subnet-{zone}") for zone in ("us-east-1a", "us-east-1b")}
    return SimpleNamespace(logical_name="net", subnet_ids=subnets, security_group_id=made("sg-nodes"), egress=egress, default_group=None)


def pool(spec: dict[str, Any], tags: dict[str, str] | None = None, name: str = "pool") -> Any:
    return lambda: GpuPool(name, spec, network=network(), tags=TAGS if tags is None else tags)


def kinds(recorded: Any) -> list[str]:
    """Return type and name of every resource except those of identities and keys."""
    found = [f"{request.type.rpartition(':')[2]} {request.name}" for request in recorded.resources.values()]
    return sorted(line for line in found if not line.startswith(("Role", "InstanceProfile", "Alias", "Key ")))


def changed(record: Any, before: Any, after: Any) -> list[str]:
    """Return the resources whose inputs differ, components excluded."""
    first, second = record(before).resources, record(after).resources
    assert first.keys() == second.keys()
    custom = [urn for urn in first if first[urn].custom]
    return sorted(urn.rpartition("::")[2] for urn in custom if first[urn].object != second[urn].object)
