"""The plan's rules for GCP resources: standing costs, budgets, quotas, and descriptions of networks and buckets."""

from __future__ import annotations

from collections.abc import Mapping

from gpuyard.counts import counted

from ...catalogue import Quota
from ..yard import RecordedComponent, RecordedPool, RecordedYard, Resource
from .base import PlanRules, RootDisk, Standing, root_disk
from .gcp_exposure import inbound_addresses, open_metadata, public_addresses, unencrypted

__all__ = ["RULES"]

_UNPRICED = {
    "gcp:compute/instance:Instance": "VM",
    "gcp:compute/disk:Disk": "disk",
    "gcp:compute/reservation:Reservation": "reservation",
    "gcp:compute/futureReservation:FutureReservation": "future reservation",
    "gcp:container/cluster:Cluster": "GKE cluster",
    "gcp:dns/managedZone:ManagedZone": "DNS zone",
    "gcp:filestore/instance:Instance": "Filestore",
    "gcp:lustre/instance:Instance": "Lustre file system",
    "gcp:sql/databaseInstance:DatabaseInstance": "database",
    "gcp:tpu/v2Vm:V2Vm": "TPU",
    "gcp:vertex/aiEndpoint:AiEndpoint": "Vertex AI endpoint",
    "gcp:workbench/instance:Instance": "workbench",
}

_LOGS = "subnet with flow logs (<= 0.50 USD per GiB beyond 50 GiB a month)"


def _standing(yard: RecordedYard) -> list[Standing]:
    keys = len(yard.of("gcp:kms/cryptoKey:CryptoKey"))
    return [
        Standing("nat_gateway", "Cloud NAT", len(yard.of("gcp:compute/routerNat:RouterNat"))),
        Standing("public_ipv4", "external address", _addresses(yard)),
        Standing("kms_key", "KMS key", keys),
        Standing("network_logs", _LOGS, _logged(yard), _LOGS.replace("subnet", "subnets")),
        Standing("scheduler_job", "scheduler job", len(yard.of("gcp:cloudscheduler/job:Job"))),
    ]


def _logged(yard: RecordedYard) -> int:
    """Return the number of subnets with flow logs."""
    return sum("logConfig" in subnet.inputs for subnet in yard.of("gcp:compute/subnetwork:Subnetwork"))


def _addresses(yard: RecordedYard) -> int:
    """Return the number of external addresses: every reserved address, and one for each NAT that allocates addresses automatically."""
    nats = yard.of("gcp:compute/routerNat:RouterNat")
    automatic = [nat for nat in nats if nat.inputs.get("natIpAllocateOption", "AUTO_ONLY") == "AUTO_ONLY"]
    reserved = [address for address in yard.of("gcp:compute/address:Address") if address.inputs.get("addressType") != "INTERNAL"]
    return len(automatic) + len(reserved)


def _budgets(yard: RecordedYard) -> list[float]:
    found = []
    for budget in yard.of("gcp:billing/budget:Budget"):
        amount: object = budget.inputs.get("amount")
        fixed = amount.get("specifiedAmount") if isinstance(amount, Mapping) else None
        if isinstance(fixed, Mapping) and fixed.get("currencyCode") == "USD" and isinstance(fixed.get("units"), str):
            found.append(float(fixed["units"]))
    return found


def _own_quota(pool: RecordedPool) -> Quota | None:
    """Return the quota of Vertex AI custom training. Each GPU model has one quota for on-demand and another for spot GPUs.

    Source: cloud.google.com/vertex-ai/docs/quotas.
    """
    if pool.spec.service != "vertex" or pool.machine is None:
        return None
    model = pool.machine.accelerator.lower().replace("-", "_")
    size = "_80gb" if (model, pool.machine.gpu_memory_gib) == ("a100", 80) else ""
    preemptible = "preemptible_" if pool.spec.mode in ("spot", "flex_start") else ""
    code = f"custom_model_training_{preemptible}nvidia_{model}{size}_gpus"
    return Quota(code=code, name=f"Vertex AI training, {pool.machine.accelerator}", unit="GPU", per_node=pool.machine.gpus)


def _disk(pool: RecordedPool, yard: RecordedYard) -> RootDisk:
    """Return the boot disk of a node. Its type is the type in the pool's instance template."""
    templates = [each for each in yard.of("gcp:compute/instanceTemplate:InstanceTemplate") if each.name == f"{pool.name}-template"]
    kinds = [disk.get("diskType") for each in templates for disk in _disks(each)]
    return root_disk(pool, str(kinds[0]) if kinds else None)


def _disks(template: Resource) -> list[Mapping[str, object]]:
    disks = template.inputs.get("disks")
    return [disk for disk in disks if isinstance(disk, Mapping)] if isinstance(disks, list) else []


def _subnets(zones: list[object]) -> str:
    return f"1 private subnet for {counted(len(zones), 'zone')}"


def _traits(component: RecordedComponent, below: Mapping[str, int]) -> list[str]:
    return ["gcs", "encrypted", "folders" if component.inputs.get("hierarchical") else "versioned"]


RULES = PlanRules(
    standing=_standing,
    unpriced=_UNPRICED,
    budgets=_budgets,
    own_quota=_own_quota,
    disk=_disk,
    public_addresses=public_addresses,
    inbound_addresses=inbound_addresses,
    unencrypted=unencrypted,
    open_metadata=open_metadata,
    network="gcp:compute/network:Network",
    nat="gcp:compute/routerNat:RouterNat",
    subnets=_subnets,
    bucket="gcp:storage/bucket:Bucket",
    traits=_traits,
)
