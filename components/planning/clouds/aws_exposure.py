"""Policy checks of AWS resources: public addresses, ingress from addresses, missing encryption, open metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..finding import Finding, violation
from ..yard import RecordedYard, Resource, boolean, known

__all__ = ["inbound_addresses", "open_metadata", "public_addresses", "unencrypted"]

_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
_INSTANCE = "aws:ec2/instance:Instance"
_GROUPS = ("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")


def public_addresses(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each resource that may give a machine a public address.

    A launch template without `associatePublicIpAddress` follows the subnet's setting.
    """
    for subnet in yard.of("aws:ec2/subnet:Subnet"):
        if boolean(subnet.inputs.get("mapPublicIpOnLaunch")):
            yield violation(subnet, f"subnet {subnet.name} gives machines public addresses; set map_public_ip_on_launch=False")
    for template in yard.of(_TEMPLATE):
        for number, card in enumerate(_list(template, "networkInterfaces")):
            public, first = boolean(card.get("associatePublicIpAddress")), not (card.get("networkCardIndex") or card.get("deviceIndex"))
            if public or (public is None and first):  # only the first interface can have one
                yield violation(
                    template,
                    f'launch template {template.name}, card {number} may get a public address; set associate_public_ip_address="false"',
                )
    for instance in yard.of(_INSTANCE):
        if boolean(instance.inputs.get("associatePublicIpAddress")):
            yield violation(instance, f"instance {instance.name} has a public address; set associate_public_ip_address=False")
    for address in yard.of("aws:ec2/eip:Eip", "aws:ec2/eipAssociation:EipAssociation"):
        if "instance" in address.inputs or "instanceId" in address.inputs:
            yield violation(address, f"public address {address.name} belongs to an instance; remove it")


def inbound_addresses(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each ingress rule whose source is an address range instead of a security group."""
    for rule in yard.of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        for key in ("cidrIpv4", "cidrIpv6"):
            if key in rule.inputs:
                yield violation(rule, f"rule {rule.name} allows ingress from {_shown(rule.inputs[key])}")
    for rule in yard.of("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if rule.inputs.get("type") == "ingress":
            yield from (violation(rule, f"rule {rule.name} allows ingress from {_shown(block)}") for block in _blocks(rule.inputs))
    for group in yard.of(*_GROUPS):
        for entry in _list(group, "ingress"):
            yield from (violation(group, f"security group {group.name} allows ingress from {_shown(block)}") for block in _blocks(entry))


def unencrypted(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each disk whose encryption is not configured.

    S3 encrypts every new object since 2023-01-05 (docs.aws.amazon.com/AmazonS3/latest/userguide/default-encryption-faq.html), and
    CloudWatch Logs every log group (docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html), both read on 2026-12-01.
    """
    for template in yard.of(_TEMPLATE):
        mappings = (entry.get("ebs") for entry in _list(template, "blockDeviceMappings"))
        disks = [disk for disk in mappings if isinstance(disk, Mapping)]
        if not disks or not all(boolean(disk.get("encrypted")) for disk in disks):
            yield violation(template, f'launch template {template.name}: disks are not encrypted; set encrypted="true"')
    for volume in yard.of("aws:ebs/volume:Volume"):
        if not boolean(volume.inputs.get("encrypted")):
            yield violation(volume, f"volume {volume.name} is not encrypted; set encrypted=True")


def open_metadata(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each machine whose metadata service answers requests without a token."""
    for resource in yard.of(_TEMPLATE, _INSTANCE):
        options = resource.inputs.get("metadataOptions")
        if not isinstance(options, Mapping) or options.get("httpTokens") != "required":
            kind = resource.kind.rpartition(":")[2]
            yield violation(
                resource, f'{kind} {resource.name}: the metadata service requires no token; set http_tokens="required" in metadata_options'
            )


def _list(resource: Resource, key: str) -> list[Mapping[str, object]]:
    value = resource.inputs.get(key, [])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _blocks(entry: Mapping[str, object]) -> list[object]:
    found: list[object] = []
    for key in ("cidrBlocks", "ipv6CidrBlocks"):
        value = entry.get(key, [])
        found += value if isinstance(value, list) else [value]
    return found


def _shown(block: object) -> str:
    return str(block) if known(block) else "unknown addresses"
