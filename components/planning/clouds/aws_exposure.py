"""Rules over raw AWS resources, whoever declared them: public addresses, rules that let the world in, no encryption, open metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..yard import Resource, Yard, known, truth

_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
_INSTANCE = "aws:ec2/instance:Instance"
_GROUPS = ("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
_BUCKET_KEY = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
)


def public_addresses(yard: Yard) -> Iterator[str]:
    """What gives a machine a public address. A template that does not say leaves it to the subnet."""
    for subnet in yard.of("aws:ec2/subnet:Subnet"):
        if truth(subnet.inputs.get("mapPublicIpOnLaunch")):
            yield f"subnet {subnet.name} gives machines public addresses: map_public_ip_on_launch"
    for template in yard.of(_TEMPLATE):
        for number, card in enumerate(_list(template, "networkInterfaces")):
            given, first = truth(card.get("associatePublicIpAddress")), not card.get("networkCardIndex")
            if given or (given is None and first):  # only the first card can have one
                yield f'launch template {template.name}, card {number}: say associate_public_ip_address="false"'
    for instance in yard.of(_INSTANCE):
        if truth(instance.inputs.get("associatePublicIpAddress")):
            yield f"instance {instance.name} has a public address"
    for address in yard.of("aws:ec2/eip:Eip", "aws:ec2/eipAssociation:EipAssociation"):
        if "instance" in address.inputs or "instanceId" in address.inputs:
            yield f"address {address.name} is an instance's"


def inbound_addresses(yard: Yard) -> Iterator[str]:
    """Rules that let in addresses instead of security groups."""
    for rule in yard.of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        for key in ("cidrIpv4", "cidrIpv6"):
            if key in rule.inputs:
                yield f"rule {rule.name} lets in {_shown(rule.inputs[key])}"
    for rule in yard.of("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if rule.inputs.get("type") == "ingress":
            yield from (f"rule {rule.name} lets in {_shown(block)}" for block in _blocks(rule.inputs))
    for group in yard.of(*_GROUPS):
        for entry in _list(group, "ingress"):
            yield from (f"security group {group.name} lets in {_shown(block)}" for block in _blocks(entry))


def unencrypted(yard: Yard) -> Iterator[str]:
    """Disks, buckets and logs that nothing says are encrypted."""
    for template in yard.of(_TEMPLATE):
        disks = [entry["ebs"] for entry in _list(template, "blockDeviceMappings") if isinstance(entry.get("ebs"), Mapping)]
        if not disks or not all(truth(disk.get("encrypted")) for disk in disks):
            yield f'launch template {template.name}: say encrypted="true" for its disks'
    for volume in yard.of("aws:ebs/volume:Volume"):
        if not truth(volume.inputs.get("encrypted")):
            yield f"volume {volume.name}: say encrypted=True"
    locked = {urn for rule in yard.of(*_BUCKET_KEY) for urn in rule.uses.get("bucket", ())}
    for bucket in yard.of("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"):
        if bucket.urn not in locked and "serverSideEncryptionConfiguration" not in bucket.inputs:
            yield f"bucket {bucket.name}: no BucketServerSideEncryptionConfiguration"
    for group in yard.of("aws:cloudwatch/logGroup:LogGroup"):
        if "kmsKeyId" not in group.inputs:
            yield f"log group {group.name}: no kms_key_id"


def open_metadata(yard: Yard) -> Iterator[str]:
    """Machines whose metadata service answers anybody who asks."""
    for resource in yard.of(_TEMPLATE, _INSTANCE):
        options = resource.inputs.get("metadataOptions")
        if not isinstance(options, Mapping) or options.get("httpTokens") != "required":
            yield f'{resource.kind.rpartition(":")[2]} {resource.name}: say metadata_options http_tokens="required"'


def _list(resource: Resource, key: str) -> list[Mapping[str, Any]]:
    value = resource.inputs.get(key, [])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _blocks(entry: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key in ("cidrBlocks", "ipv6CidrBlocks"):
        value = entry.get(key, [])
        found += value if isinstance(value, list) else [value]
    return found


def _shown(block: Any) -> str:
    return str(block) if known(block) else "addresses not known yet"
