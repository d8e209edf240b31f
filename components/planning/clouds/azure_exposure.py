"""Rules over raw Azure resources, whoever declared them: public addresses, rules that let the world in, no encryption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..yard import Resource, Yard, known, truth

SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"
_MACHINE = "azure-native:compute:VirtualMachine"
_INSIDE = ("VirtualNetwork", "AzureLoadBalancer")


def public_addresses(yard: Yard) -> Iterator[str]:
    """What gives a machine a public address, hidden ones included."""
    for subnet in yard.of("azure-native:network:Subnet"):
        if truth(subnet.inputs.get("defaultOutboundAccess")) is not False:
            yield f"subnet {subnet.name} gives machines hidden public addresses: say default_outbound_access=False"
    for machines in yard.of(SCALE_SET):
        for card in _list(inner(machines, "virtualMachineProfile", "networkProfile"), "networkInterfaceConfigurations"):
            if any("publicIPAddressConfiguration" in address for address in _list(card, "ipConfigurations")):
                yield f"scale set {machines.name}: its machines have public addresses"
    for interface in yard.of("azure-native:network:NetworkInterface"):
        if any("publicIPAddress" in address for address in _list(interface.inputs, "ipConfigurations")):
            yield f"network interface {interface.name} has a public address"
    for compute in yard.of("azure-native:machinelearningservices:Compute"):
        if truth(inner(compute, "properties", "properties").get("enableNodePublicIp")) is not False:
            yield f"cluster {compute.name}: say enable_node_public_ip=False"


def inbound_addresses(yard: Yard) -> Iterator[str]:
    """Rules that let in addresses instead of security groups."""
    for group in yard.of("azure-native:network:NetworkSecurityGroup"):
        for rule in _list(group.inputs, "securityRules"):
            yield from (f"rule {rule.get('name')} of {group.name} lets in {source}" for source in _sources(rule))
    for alone in yard.of("azure-native:network:SecurityRule"):
        yield from (f"rule {alone.name} lets in {source}" for source in _sources(alone.inputs))


def unencrypted(yard: Yard) -> Iterator[str]:
    """Disks that are not encrypted on the host, and accounts that keys or plain HTTP open. Azure encrypts what lies still by itself."""
    for machines in yard.of(SCALE_SET):
        if not truth(inner(machines, "virtualMachineProfile", "securityProfile").get("encryptionAtHost")):
            yield f"scale set {machines.name}: say encryption_at_host=True"
    for machine in yard.of(_MACHINE):
        if not truth(inner(machine, "securityProfile").get("encryptionAtHost")):
            yield f"virtual machine {machine.name}: say encryption_at_host=True"
    for account in yard.of("azure-native:storage:StorageAccount"):
        if truth(account.inputs.get("enableHttpsTrafficOnly")) is False:
            yield f"storage account {account.name}: say enable_https_traffic_only=True"
        if truth(account.inputs.get("allowSharedKeyAccess")) is not False:
            yield f"storage account {account.name}: keys open it, so say allow_shared_key_access=False"


def open_metadata(yard: Yard) -> Iterator[str]:
    """Nothing: Azure's metadata service asks for a header, and answers no request that was forwarded."""
    return iter(())


def inner(resource: Resource, *path: str) -> Mapping[str, Any]:
    """What lies that deep in a resource's inputs; empty where nothing does."""
    found: Any = resource.inputs
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(inputs: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = inputs.get(key, [])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _sources(rule: Mapping[str, Any]) -> list[str]:
    if rule.get("access") != "Allow" or rule.get("direction") != "Inbound":
        return []
    several = rule.get("sourceAddressPrefixes")
    given = [rule.get("sourceAddressPrefix"), *(several if isinstance(several, list) else [several])]
    return [source if known(source) else "addresses not known yet" for source in given if source is not None and source not in _INSIDE]
