"""Policy checks of AWS resources: public addresses, ingress from addresses, missing encryption, open metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..yard import RecordedYard, Resource, boolean, known

__all__ = ["inbound_addresses", "open_metadata", "public_addresses", "unencrypted"]

_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
_INSTANCE = "aws:ec2/instance:Instance"
_GROUPS = ("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
_BUCKET_KEY = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
)


def public_addresses(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each resource that may give a machine a public address.

    A launch template without `associatePublicIpAddress` follows the subnet's setting.
    """
    for subnet in yard.of("aws:ec2/subnet:Subnet"):
        if boolean(subnet.inputs.get("mapPublicIpOnLaunch")):
            yield f"subnet {subnet.name} gives machines public addresses; set map_public_ip_on_launch=False"
    for template in yard.of(_TEMPLATE):
        for number, card in enumerate(_list(template, "networkInterfaces")):
            public, first = boolean(card.get("associatePublicIpAddress")), not (card.get("networkCardIndex") or card.get("deviceIndex"))
            if public or (public is None and first):  # only the first interface can have one
                yield f'launch template {template.name}, card {number} may get a public address; set associate_public_ip_address="false"'
    for instance in yard.of(_INSTANCE):
        if boolean(instance.inputs.get("associatePublicIpAddress")):
            yield f"instance {instance.name} has a public address; set associate_public_ip_address=False"
    for address in yard.of("aws:ec2/eip:Eip", "aws:ec2/eipAssociation:EipAssociation"):
        if "instance" in address.inputs or "instanceId" in address.inputs:
            yield f"public address {address.name} belongs to an instance; remove it"


def inbound_addresses(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each ingress rule whose source is an address range instead of a security group."""
    for rule in yard.of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        for key in ("cidrIpv4", "cidrIpv6"):
            if key in rule.inputs:
                yield f"rule {rule.name} allows ingress from {_shown(rule.inputs[key])}"
    for rule in yard.of("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if rule.inputs.get("type") == "ingress":
            yield from (f"rule {rule.name} allows ingress from {_shown(block)}" for block in _blocks(rule.inputs))
    for group in yard.of(*_GROUPS):
        for entry in _list(group, "ingress"):
            yield from (f"security group {group.name} allows ingress from {_shown(block)}" for block in _blocks(entry))


def unencrypted(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each disk, bucket and log group whose encryption is not configured."""
    for template in yard.of(_TEMPLATE):
        mappings = (entry.get("ebs") for entry in _list(template, "blockDeviceMappings"))
        disks = [disk for disk in mappings if isinstance(disk, Mapping)]
        if not disks or not all(boolean(disk.get("encrypted")) for disk in disks):
            yield f'launch template {template.name}: disks are not encrypted; set encrypted="true"'
    for volume in yard.of("aws:ebs/volume:Volume"):
        if not boolean(volume.inputs.get("encrypted")):
            yield f"volume {volume.name} is not encrypted; set encrypted=True"
    encrypted = {urn for rule in yard.of(*_BUCKET_KEY) for urn in rule.uses.get("bucket", ())}
    for bucket in yard.of("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"):
        if bucket.urn not in encrypted and "serverSideEncryptionConfiguration" not in bucket.inputs:
            yield f"bucket {bucket.name} is not encrypted; add a BucketServerSideEncryptionConfiguration"
    for group in yard.of("aws:cloudwatch/logGroup:LogGroup"):
        if "kmsKeyId" not in group.inputs:
            yield f"log group {group.name} is not encrypted; set kms_key_id"


def open_metadata(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each machine whose metadata service answers requests without a token."""
    for resource in yard.of(_TEMPLATE, _INSTANCE):
        options = resource.inputs.get("metadataOptions")
        if not isinstance(options, Mapping) or options.get("httpTokens") != "required":
            kind = resource.kind.rpartition(":")[2]
            yield f'{kind} {resource.name}: the metadata service requires no token; set http_tokens="required" in metadata_options'


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
