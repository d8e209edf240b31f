"""Policy checks of Azure resources: public addresses, ingress from addresses, missing encryption."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from ..finding import Finding, violation
from ..yard import RecordedYard, Resource, boolean, known

__all__ = ["SCALE_SET", "inbound_addresses", "inner", "open_metadata", "public_addresses", "unencrypted"]

SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"
_MACHINE = "azure-native:compute:VirtualMachine"
_SERVICE_TAGS = ("VirtualNetwork", "AzureLoadBalancer")


def public_addresses(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each resource that gives a machine a public address, including Azure's default outbound address."""
    for subnet in yard.of("azure-native:network:Subnet"):
        if boolean(subnet.inputs.get("defaultOutboundAccess")) is not False:
            yield violation(subnet, f"subnet {subnet.name} gives machines default outbound addresses; set default_outbound_access=False")
    for machines in yard.of(SCALE_SET):
        for card in _list(inner(machines, "virtualMachineProfile", "networkProfile"), "networkInterfaceConfigurations"):
            if any("publicIPAddressConfiguration" in address for address in _list(card, "ipConfigurations")):
                yield violation(
                    machines, f"scale set {machines.name} gives its machines public addresses; remove publicIPAddressConfiguration"
                )
    for interface in yard.of("azure-native:network:NetworkInterface"):
        if any("publicIPAddress" in address for address in _list(interface.inputs, "ipConfigurations")):
            yield violation(interface, f"network interface {interface.name} has a public address; remove publicIPAddress")
    for compute in yard.of("azure-native:machinelearningservices:Compute"):
        if boolean(inner(compute, "properties", "properties").get("enableNodePublicIp")) is not False:
            yield violation(compute, f"cluster {compute.name} gives its nodes public addresses; set enable_node_public_ip=False")


def inbound_addresses(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each ingress rule from outside the virtual network. SSH from private ranges is allowed."""
    for group in yard.of("azure-native:network:NetworkSecurityGroup"):
        for rule in _list(group.inputs, "securityRules"):
            yield from (
                violation(group, f"rule {rule.get('name')} of {group.name} allows ingress from {source}") for source in _sources(rule)
            )
    for alone in yard.of("azure-native:network:SecurityRule"):
        yield from (violation(alone, f"rule {alone.name} allows ingress from {source}") for source in _sources(alone.inputs))


def unencrypted(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each machine without encryption at host and each storage account that accepts HTTP or account keys.

    Azure always encrypts stored data.
    """
    for machines in yard.of(SCALE_SET):
        if not boolean(inner(machines, "virtualMachineProfile", "securityProfile").get("encryptionAtHost")):
            yield violation(machines, f"scale set {machines.name} has no encryption at host; set encryption_at_host=True")
    for machine in yard.of(_MACHINE):
        if not boolean(inner(machine, "securityProfile").get("encryptionAtHost")):
            yield violation(machine, f"virtual machine {machine.name} has no encryption at host; set encryption_at_host=True")
    for account in yard.of("azure-native:storage:StorageAccount"):
        if boolean(account.inputs.get("enableHttpsTrafficOnly")) is False:
            yield violation(account, f"storage account {account.name} accepts plain HTTP; set enable_https_traffic_only=True")
        if boolean(account.inputs.get("allowSharedKeyAccess")) is not False:
            yield violation(account, f"storage account {account.name} accepts account keys; set allow_shared_key_access=False")


def open_metadata(yard: RecordedYard) -> Iterator[Finding]:
    """Yield nothing: Azure's metadata service requires a header and refuses forwarded requests."""
    return iter(())


def inner(resource: Resource, *path: str) -> Mapping[str, object]:
    """Return the mapping at a path in a resource's inputs; {} if there is no mapping."""
    found: object = resource.inputs
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(inputs: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = inputs.get(key, [])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _sources(rule: Mapping[str, object]) -> list[str]:
    if rule.get("access") != "Allow" or rule.get("direction") != "Inbound":
        return []
    several = rule.get("sourceAddressPrefixes")
    sources = [rule.get("sourceAddressPrefix"), *(several if isinstance(several, list) else [several])]
    outside = [source for source in sources if source is not None and source not in _SERVICE_TAGS]
    ssh = rule.get("destinationPortRange") == "22"
    return [source if known(source) else "unknown addresses" for source in outside if not (ssh and known(source) and _is_private(source))]


def _is_private(source: str) -> bool:
    try:
        return ipaddress.IPv4Network(source).is_private
    except ValueError:  # a service tag
        return False
