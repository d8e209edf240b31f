"""The plan's rules for Azure resources: standing costs, budgets, quotas, and descriptions of networks and buckets."""

from __future__ import annotations

from collections.abc import Mapping

from ...catalogue import Quota
from ..yard import RecordedComponent, RecordedPool, RecordedYard
from .azure_exposure import SCALE_SET, inbound_addresses, inner, open_metadata, public_addresses, unencrypted
from .base import PlanRules, RootDisk, Standing, root_disk

__all__ = ["RULES"]

_NAT = "azure-native:network:NatGateway"
_UNPRICED = {
    "azure-native:compute:VirtualMachine": "virtual machine",
    "azure-native:compute:Disk": "managed disk",
    "azure-native:compute:CapacityReservation": "capacity reservation",
    "azure-native:containerregistry:Registry": "container registry",
    "azure-native:containerservice:ManagedCluster": "AKS cluster",
    "azure-native:keyvault:ManagedHsm": "managed HSM",
    "azure-native:machinelearningservices:Workspace": "workspace (private endpoints of its managed network)",
    "azure-native:network:AzureFirewall": "firewall",
    "azure-native:network:BastionHost": "Bastion host",
    "azure-native:network:LoadBalancer": "load balancer",
    "azure-native:network:VirtualNetworkGateway": "network gateway",
    "azure-native:privatedns:PrivateZone": "private DNS zone",
    "azure-native:storagecache:AmlFilesystem": "Lustre file system",
}


def _standing(yard: RecordedYard) -> list[Standing]:
    subnets = yard.of("azure-native:network:Subnet")
    opened = {str(subnet.uses.get("virtualNetworkName")) for subnet in subnets if subnet.inputs.get("serviceEndpoints")}
    endpoints = len(yard.of("azure-native:network:PrivateEndpoint")) + _managed(yard).count("PrivateEndpoint")
    return [
        Standing("nat_gateway", "NAT gateway", len(yard.of(_NAT))),
        Standing("public_ipv4", "public IPv4 address", len(yard.of("azure-native:network:PublicIPAddress"))),
        Standing("private_endpoint", "private endpoint", endpoints),
        Standing("service_endpoints", "network with service endpoints", len(opened), "networks with service endpoints"),
        # Azure creates a firewall where a rule names a host: learn.microsoft.com/azure/machine-learning/how-to-managed-network
        Standing("firewall", "managed network firewall", int("FQDN" in _managed(yard))),
    ]


def _managed(yard: RecordedYard) -> list[object]:
    """Return the type of each outbound rule of a managed network. A rule of type PrivateEndpoint costs as much as a private endpoint."""
    rules = [rule.inputs.get("properties") for rule in yard.of("azure-native:machinelearningservices:ManagedNetworkSettingsRule")]
    return [rule.get("type") for rule in rules if isinstance(rule, Mapping)]


def _budgets(yard: RecordedYard) -> list[float]:
    raw = yard.of("azure-native:consumption:Budget", "azure-native:costmanagement:Budget")
    amounts = [each.inputs.get("amount") for each in raw if each.inputs.get("timeGrain") == "Monthly"]
    return [float(amount) for amount in amounts if isinstance(amount, int | float)]


def _own_quota(pool: RecordedPool) -> Quota | None:
    """Return Azure ML's own core quota: for dedicated cores one quota per machine family, for low-priority cores one for all families."""
    if pool.spec.service != "azureml" or pool.machine is None:
        return None
    quota = pool.machine.quotas["on_demand"]
    if pool.spec.mode == "spot":
        return quota.model_copy(update={"code": None, "name": "azureml: low-priority vCPUs of all families"})
    return quota.model_copy(update={"name": f"azureml: dedicated {quota.name}"})


def _disk(pool: RecordedPool, yard: RecordedYard) -> RootDisk | None:
    """Return a node's OS disk. None: an ephemeral OS disk, which is free. The disk of an Azure ML cluster has no known kind."""
    if pool.spec.service == "azureml":
        return RootDisk(None, "system disk of a cluster node")
    machines = [each for each in yard.of(SCALE_SET) if each.name == f"{pool.name}-machines"]
    free = any("diffDiskSettings" in inner(each, "virtualMachineProfile", "storageProfile", "osDisk") for each in machines)
    return None if free else root_disk(pool, "Premium_LRS")


def _subnets(zones: list[object]) -> str:
    return f"zone{'s' if len(zones) != 1 else ''} {', '.join(str(zone) for zone in zones)}"


def _traits(component: RecordedComponent, below: Mapping[str, int]) -> list[str]:
    open_to: object = component.inputs.get("open_to") or []
    return [
        "blob",
        "encrypted",
        "versioned" if component.inputs.get("namespace") != "hierarchical" else "hierarchical",
        f"open to {', '.join(str(range_) for range_ in open_to)}" if isinstance(open_to, list) and open_to else "private",
    ]


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
    network="azure-native:network:VirtualNetwork",
    nat=_NAT,
    subnets=_subnets,
    bucket="azure-native:storage:StorageAccount",
    traits=_traits,
    fast_card="InfiniBand",
)
