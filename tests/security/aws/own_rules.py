"""Our own rules for AWS resources that Checkov does not check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.security.rows import Row
from tests.security.rules import Rules, secret_in

_WORLD = ("0.0.0.0/0", "::/0")


def _disks_are_encrypted(row: Row, _: Sequence[Row]) -> Iterator[str]:
    mappings = row.inputs.get("blockDeviceMappings") or []
    if not mappings:
        yield "no disk is declared, so the image's unencrypted disk is used"
    for mapping in mappings:
        if (mapping.get("ebs") or {}).get("encrypted") != "true":
            yield f"disk {mapping.get('deviceName')} is not encrypted"


def _no_key_pair(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("keyName") or (row.inputs.get("computeResources") or {}).get("ec2KeyPair"):
        yield "it has a key pair: use SSM for access"


def _no_public_address(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for card in row.inputs.get("networkInterfaces") or []:
        if card.get("associatePublicIpAddress") not in (None, "false") or card.get("associateCarrierIpAddress") == "true":
            yield f"network card {card.get('networkCardIndex', 0)} gets a public address"
    if row.inputs.get("mapPublicIpOnLaunch"):
        yield "its machines get public addresses"


def _metadata_needs_a_token(row: Row, _: Sequence[Row]) -> Iterator[str]:
    options = row.inputs.get("metadataOptions") or {}
    if options.get("httpTokens") != "required" or options.get("httpPutResponseHopLimit") != 1:
        yield f"the metadata service must require a token and a hop limit of 1, got {options}"


def _no_secret_at_boot(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if found := secret_in(str(row.inputs.get("userData") or "")):
        yield f"its boot script contains what looks like a secret: {found}"


def _managed_with_security_group_and_role(row: Row, _: Sequence[Row]) -> Iterator[str]:
    resources = row.inputs.get("computeResources") or {}
    if row.inputs.get("type") != "MANAGED":
        yield "it is not managed"
    if not resources.get("securityGroupIds") and not resources.get("launchTemplate"):
        yield "it has no security group, so machines use the default one"
    if not resources.get("instanceRole"):
        yield "its machines have no instance role"


def _harmless_containers(row: Row, _: Sequence[Row]) -> Iterator[str]:
    node = json.loads(row.inputs.get("nodeProperties") or "{}")
    containers = [each.get("container") or {} for each in node.get("nodeRangeProperties", [])]
    for container in [*containers, json.loads(row.inputs.get("containerProperties") or "{}")]:
        if container.get("privileged"):
            yield "a container is privileged"
        for volume in container.get("volumes", []):
            if (path := (volume.get("host") or {}).get("sourcePath")) in ("/", "/var/run/docker.sock", "/run/docker.sock"):
                yield f"a container mounts the machine's {path}"


def _ingress(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for rule in [row.inputs, *(row.inputs.get("ingress") or [])]:
        if any(rule.get(key) for key in ("cidrIpv4", "cidrIpv6", "cidrBlocks", "ipv6CidrBlocks", "prefixListId", "prefixListIds")):
            yield "it allows ingress from addresses: name a security group"


def _egress(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("cidrIpv4") in _WORLD or row.inputs.get("cidrIpv6") in _WORLD:
        ports = (row.inputs.get("ipProtocol"), row.inputs.get("fromPort"), row.inputs.get("toPort"))
        if ports != ("tcp", 443, 443):
            yield f"it allows egress to the internet other than HTTPS: {ports}"


def _actions_by_name(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for statement in _statements(row.inputs.get("policy")):
        actions = _listed(statement.get("Action", []))
        allowed = statement.get("Effect") == "Allow"
        if allowed and (not actions or any("*" in action for action in actions)):
            yield f"actions contain a wildcard: {actions or sorted(statement)}"


def _trust_has_conditions(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for statement in _statements(row.inputs.get("assumeRolePolicy")):
        principal, conditions = statement.get("Principal", {}), statement.get("Condition", {})
        keys = {key for test in conditions.values() for key in test}
        if principal == "*" or "*" in _listed(principal.get("AWS", [])):
            yield "any principal may assume it"
        elif "Federated" in principal and not any(key.endswith(":sub") for key in keys):
            yield "any token of the issuer may assume it: no subject is named"
        elif "Federated" in principal and not any(key.endswith(":aud") for key in keys):
            yield "a token for another audience may assume it"


def _requires_tls(row: Row, resources: Sequence[Row]) -> Iterator[str]:
    """Return whether some policy of a bucket refuses plain HTTP. A policy names the bucket by its id, which is its name."""
    policies = [other for other in resources if other.token == "aws:s3/bucketPolicy:BucketPolicy"]
    for policy in policies:
        for statement in _statements(policy.inputs.get("policy")):
            insecure = (statement.get("Condition") or {}).get("Bool", {}).get("aws:SecureTransport")
            on = json.dumps(statement.get("Resource"))
            if statement.get("Effect") == "Deny" and str(insecure).lower() == "false" and row.name in on:
                return
    yield "no policy refuses plain HTTP"


def _logs_all_traffic(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("trafficType") != "ALL":
        yield "it does not log all traffic"


def _propagates_tags(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if not all(tag.get("propagateAtLaunch") for tag in row.inputs.get("tags") or []):
        yield "its tags are not propagated to machines"


def _statements(document: Any) -> list[Mapping[str, Any]]:
    parsed = json.loads(document) if isinstance(document, str) else document or {}
    return [dict(statement) for statement in _listed(parsed.get("Statement", []))]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


RULES: Rules = {
    "aws:autoscaling/group:Group": (_propagates_tags,),
    "aws:batch/computeEnvironment:ComputeEnvironment": (_managed_with_security_group_and_role, _no_key_pair),
    "aws:batch/jobDefinition:JobDefinition": (_harmless_containers,),
    "aws:ec2/flowLog:FlowLog": (_logs_all_traffic,),
    "aws:ec2/launchTemplate:LaunchTemplate": (
        _disks_are_encrypted,
        _no_key_pair,
        _no_public_address,
        _metadata_needs_a_token,
        _no_secret_at_boot,
    ),
    "aws:ec2/securityGroup:SecurityGroup": (_ingress,),
    "aws:ec2/subnet:Subnet": (_no_public_address,),
    "aws:iam/policy:Policy": (_actions_by_name,),
    "aws:iam/role:Role": (_trust_has_conditions,),
    "aws:iam/rolePolicy:RolePolicy": (_actions_by_name,),
    "aws:s3/bucket:Bucket": (_requires_tls,),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (_egress,),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (_ingress,),
}
