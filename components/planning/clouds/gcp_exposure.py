"""Policy checks of GCP resources: external addresses, ingress from addresses, buckets without a key, open metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..yard import RecordedYard, Resource, boolean

__all__ = ["inbound_addresses", "open_metadata", "public_addresses", "unencrypted"]

_TEMPLATES = (
    "gcp:compute/instanceTemplate:InstanceTemplate",
    "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate",
    "gcp:compute/instance:Instance",
)
_PUBLIC_MEMBERS = ("allUsers", "allAuthenticatedUsers")
_IAP = "35.235.240.0/20"  # Identity-Aware Proxy: IAM decides who connects, cloud.google.com/iap/docs/using-tcp-forwarding


def public_addresses(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each public bucket and each machine with an external address.

    Even an empty `access_configs` gives a machine an external address.
    """
    for template in yard.of(*_TEMPLATES):
        for number, card in enumerate(_list(template, "networkInterfaces")):
            if "accessConfigs" in card or "ipv6AccessConfigs" in card:
                yield f"{_class_name(template)} {template.name}, card {number} gets an external address; remove access_configs"
    for grant in yard.of("gcp:storage/bucketIAMMember:BucketIAMMember", "gcp:storage/bucketIAMBinding:BucketIAMBinding"):
        members = grant.inputs.get("members", [grant.inputs.get("member")])
        if isinstance(members, list) and any(member in _PUBLIC_MEMBERS for member in members):
            yield f"{_class_name(grant)} {grant.name} makes its bucket public; remove allUsers and allAuthenticatedUsers"
    for bucket in yard.of("gcp:storage/bucket:Bucket"):
        if bucket.inputs.get("publicAccessPrevention") != "enforced":
            yield f'bucket {bucket.name} can become public; set public_access_prevention="enforced"'


def inbound_addresses(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each ingress rule whose source is an address range. SSH from Identity-Aware Proxy is allowed."""
    for rule in yard.of("gcp:compute/firewall:Firewall"):
        if rule.inputs.get("direction", "INGRESS") != "INGRESS" or "allows" not in rule.inputs:
            continue
        ranges = rule.inputs.get("sourceRanges", [])
        if not isinstance(ranges, list):
            yield f"rule {rule.name} allows ingress from unknown addresses"
        elif not ranges and not any(rule.inputs.get(key) for key in ("sourceServiceAccounts", "sourceTags")):
            yield f"rule {rule.name} allows ingress from everywhere: it names no source"
        else:
            yield from (f"rule {rule.name} allows ingress from {block}" for block in ranges if block != _IAP or not _is_ssh(rule))


def unencrypted(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each bucket without a customer-managed key. Google always encrypts disks and logs."""
    for bucket in yard.of("gcp:storage/bucket:Bucket"):
        if "encryption" not in bucket.inputs:
            yield f"bucket {bucket.name} has no customer-managed key; set default_kms_key_name"


def open_metadata(yard: RecordedYard) -> Iterator[str]:
    """Yield a message for each machine that accepts SSH keys from project metadata or has an open serial console."""
    for template in yard.of(*_TEMPLATES):
        inputs = template.inputs.get("metadata")
        metadata = inputs if isinstance(inputs, Mapping) else {}
        if not boolean(metadata.get("block-project-ssh-keys")) or not boolean(metadata.get("enable-oslogin")):
            yield f'{_class_name(template)} {template.name}: set metadata block-project-ssh-keys="TRUE" and enable-oslogin="TRUE"'
        if boolean(metadata.get("serial-port-enable")):
            yield f"{_class_name(template)} {template.name}: the serial console is open; remove serial-port-enable"


def _is_ssh(rule: Resource) -> bool:
    return all(allowed.get("protocol") == "tcp" and allowed.get("ports") == ["22"] for allowed in _list(rule, "allows"))


def _list(resource: Resource, key: str) -> list[Mapping[str, object]]:
    value = resource.inputs.get(key, [])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _class_name(resource: Resource) -> str:
    return resource.kind.rpartition(":")[2]
