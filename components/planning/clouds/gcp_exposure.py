"""Policy checks of GCP resources: external addresses, public buckets, ingress from address ranges, metadata that opens a way in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..finding import Finding, violation
from ..yard import RecordedYard, Resource, boolean

__all__ = ["inbound_addresses", "open_metadata", "public_addresses", "unencrypted"]

_TEMPLATES = (
    "gcp:compute/instanceTemplate:InstanceTemplate",
    "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate",
    "gcp:compute/instance:Instance",
)
_PUBLIC_MEMBERS = ("allUsers", "allAuthenticatedUsers")
_ACCESS_LISTS = (
    "gcp:storage/bucketACL:BucketACL",
    "gcp:storage/defaultObjectACL:DefaultObjectACL",
    "gcp:storage/bucketAccessControl:BucketAccessControl",
    "gcp:storage/defaultObjectAccessControl:DefaultObjectAccessControl",
)
_PUBLIC_LISTS = ("publicRead", "publicReadWrite", "authenticatedRead")
_IAP = "35.235.240.0/20"  # Identity-Aware Proxy: IAM decides who connects, cloud.google.com/iap/docs/using-tcp-forwarding


def public_addresses(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each public bucket and each machine with an external address.

    Even an empty `access_configs` gives a machine an external address.
    """
    for template in yard.of(*_TEMPLATES):
        for number, card in enumerate(_list(template, "networkInterfaces")):
            if "accessConfigs" in card or "ipv6AccessConfigs" in card:
                yield violation(
                    template, f"{_class_name(template)} {template.name}, card {number} gets an external address; remove access_configs"
                )
    for grant in yard.of("gcp:storage/bucketIAMMember:BucketIAMMember", "gcp:storage/bucketIAMBinding:BucketIAMBinding"):
        members = grant.inputs.get("members", [grant.inputs.get("member")])
        if isinstance(members, list) and any(member in _PUBLIC_MEMBERS for member in members):
            yield violation(grant, f"{_class_name(grant)} {grant.name} makes its bucket public; remove allUsers and allAuthenticatedUsers")
    for access in yard.of(*_ACCESS_LISTS):
        if set(_members(access)) & {*_PUBLIC_MEMBERS, *_PUBLIC_LISTS}:
            yield violation(access, f"{_class_name(access)} {access.name} makes objects public; remove allUsers and allAuthenticatedUsers")


def inbound_addresses(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each ingress rule whose source is an address range. SSH from Identity-Aware Proxy is allowed."""
    for rule in yard.of("gcp:compute/firewall:Firewall"):
        if rule.inputs.get("direction", "INGRESS") != "INGRESS" or "allows" not in rule.inputs:
            continue
        ranges = rule.inputs.get("sourceRanges", [])
        if not isinstance(ranges, list):
            yield violation(rule, f"rule {rule.name} allows ingress from unknown addresses")
        elif not ranges and not any(rule.inputs.get(key) for key in ("sourceServiceAccounts", "sourceTags")):
            yield violation(rule, f"rule {rule.name} allows ingress from everywhere: it names no source")
        else:
            yield from (
                violation(rule, f"rule {rule.name} allows ingress from {block}") for block in ranges if block != _IAP or not _is_ssh(rule)
            )


def unencrypted(yard: RecordedYard) -> Iterator[Finding]:
    """Yield nothing: Google encrypts all stored data (cloud.google.com/docs/security/encryption/default-encryption, read on 2026-12-01)."""
    return iter(())


def open_metadata(yard: RecordedYard) -> Iterator[Finding]:
    """Yield a violation for each machine that accepts SSH keys from project metadata or has an open serial console."""
    for template in yard.of(*_TEMPLATES):
        inputs = template.inputs.get("metadata")
        metadata = inputs if isinstance(inputs, Mapping) else {}
        if not boolean(metadata.get("block-project-ssh-keys")) or not boolean(metadata.get("enable-oslogin")):
            yield violation(
                template, f'{_class_name(template)} {template.name}: set metadata block-project-ssh-keys="TRUE" and enable-oslogin="TRUE"'
            )
        if boolean(metadata.get("serial-port-enable")):
            yield violation(template, f"{_class_name(template)} {template.name}: the serial console is open; remove serial-port-enable")


def _members(access: Resource) -> Iterator[str]:
    """Yield the predefined list and the members of an access control list. `roleEntities` has ROLE:MEMBER."""
    yield from (str(access.inputs.get(key)) for key in ("predefinedAcl", "entity"))
    entries = access.inputs.get("roleEntities", [])
    yield from (str(entry).partition(":")[2] for entry in (entries if isinstance(entries, list) else []))


def _is_ssh(rule: Resource) -> bool:
    return all(allowed.get("protocol") == "tcp" and allowed.get("ports") == ["22"] for allowed in _list(rule, "allows"))


def _list(resource: Resource, key: str) -> list[Mapping[str, object]]:
    value = resource.inputs.get(key, [])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _class_name(resource: Resource) -> str:
    return resource.kind.rpartition(":")[2]
