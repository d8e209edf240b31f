"""Sample GCP pools: specs of each kind, a network as a pool uses it, and the difference between two programs' resources."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pulumi

from gpuyard.components.catalogue import table
from gpuyard.components.gcp.gpu_pool import GpuPool
from gpuyard.components.spec.fields import in_cloud
from gpuyard.components.spec.pool import GpuPoolSpec
from tests.helpers.gcp_sample_yard import FLEX, ZONE

END = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=90)
"""The yard's expiry: soon, because Google's schedules have no year."""
TAGS = {"owner": "me@acme.io", "expires": END.isoformat(), "team": "nlp"}
VMS: dict[str, Any] = {"service": "vms", "machine": "a3-megagpu-8g", "zone": ZONE, "max_nodes": 4}
VERTEX: dict[str, Any] = {**VMS, "service": "vertex", "machine": "g2-standard-48"}
RESERVED = {"mode": "reservation", "reservation": f"projects/acme-ml/zones/{ZONE}/reservations/h200-block"}
CAPACITIES: dict[str, Any] = {"on_demand": "on_demand", "spot": "spot", "reservation": RESERVED, "flex_start": FLEX}
MACHINES = table("gcp").machines


def spec_of(given: Mapping[str, Any]) -> GpuPoolSpec:
    """Return the spec as the component parses it."""
    return GpuPoolSpec.model_validate(dict(given), context=in_cloud("gcp"))


def network(zones: tuple[str, ...] = (ZONE, "us-central1-b"), egress: str | None = None) -> Any:
    """Return an existing network as a pool uses it; with `egress`, a network of the yard. Its ids are outputs of other resources."""
    made = pulumi.Output.from_input
    subnet = made("projects/acme-ml/regions/us-central1/subnetworks/net")
    own = {"id": made("projects/acme-ml/global/networks/net"), "rules_project": lambda project: None}
    return SimpleNamespace(logical_name="net", subnet_ids=dict.fromkeys(zones, subnet), egress=egress, **own)


def pool(spec: Mapping[str, Any], tags: Mapping[str, str] | None = None, name: str = "pool", own_network: Any = None, **more: Any) -> Any:
    """Return a program that declares a pool in an existing network, or in `own_network`."""
    return lambda: GpuPool(name, dict(spec), network=own_network or network(), tags=TAGS if tags is None else dict(tags), **more)


def kinds(recorded: Any) -> list[str]:
    """Return type and name of every resource except those of identities and keys."""
    found = [f"{request.type.rpartition(':')[2]} {request.name}" for request in recorded.resources.values()]
    return sorted(line for line in found if not line.startswith(("Account", "IAMMember", "IAMCustomRole", "CryptoKey", "KeyRing")))


def of_type(recorded: Any, token: str) -> dict[str, dict[str, Any]]:
    """Return the inputs of all resources of a type, by name."""
    names = [request.name for request in recorded.resources.values() if request.type == token]
    return {name: recorded.inputs(token, name) for name in names}


def changed(record: Any, before: Any, after: Any) -> list[str]:
    """Return the resources whose inputs differ, components excluded."""
    first, second = record(before).resources, record(after).resources
    assert first.keys() == second.keys()
    custom = [urn for urn in first if first[urn].custom]
    return sorted(urn.rpartition("::")[2] for urn in custom if first[urn].object != second[urn].object)
