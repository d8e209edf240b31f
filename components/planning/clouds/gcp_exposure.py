"""Rules over raw GCP resources, whoever declared them: external addresses, rules that let the world in, no key, open metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..yard import Resource, Yard, known, truth

_TEMPLATES = (
    "gcp:compute/instanceTemplate:InstanceTemplate",
    "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate",
    "gcp:compute/instance:Instance",
)
_ANYBODY = ("allUsers", "allAuthenticatedUsers")
_PEOPLE = "35.235.240.0/20"  # Identity-Aware Proxy: Google lets in whom IAM names, cloud.google.com/iap/docs/using-tcp-forwarding


def public_addresses(yard: Yard) -> Iterator[str]:
    """What gives a machine an external address: an access configuration, an empty one too; and buckets that anybody reads."""
    for template in yard.of(*_TEMPLATES):
        for number, card in enumerate(_list(template, "networkInterfaces")):
            if "accessConfigs" in card or "ipv6AccessConfigs" in card:
                yield f"{_word(template)} {template.name}, card {number}: leave out access_configs, an empty one gives an address too"
    for grant in yard.of("gcp:storage/bucketIAMMember:BucketIAMMember", "gcp:storage/bucketIAMBinding:BucketIAMBinding"):
        members = grant.inputs.get("members", [grant.inputs.get("member")])
        if isinstance(members, list) and any(member in _ANYBODY for member in members):
            yield f"{_word(grant)} {grant.name} lets anybody in"
    for bucket in yard.of("gcp:storage/bucket:Bucket"):
        if bucket.inputs.get("publicAccessPrevention") != "enforced":
            yield f'bucket {bucket.name}: say public_access_prevention="enforced"'


def inbound_addresses(yard: Yard) -> Iterator[str]:
    """Rules that let in addresses instead of service accounts. The proxy for people is the one exception, and for SSH alone."""
    for rule in yard.of("gcp:compute/firewall:Firewall"):
        if rule.inputs.get("direction", "INGRESS") != "INGRESS" or "allows" not in rule.inputs:
            continue
        ranges: Any = rule.inputs.get("sourceRanges", [])
        if not known(ranges):
            yield f"rule {rule.name} lets in addresses not known yet"
        elif not ranges and not any(rule.inputs.get(key) for key in ("sourceServiceAccounts", "sourceTags")):
            yield f"rule {rule.name} lets in everybody: it names no source"
        else:
            yield from (f"rule {rule.name} lets in {block}" for block in ranges if block != _PEOPLE or not _is_ssh(rule))


def unencrypted(yard: Yard) -> Iterator[str]:
    """Buckets without a key of one's own. Disks and logs are always encrypted by Google."""
    for bucket in yard.of("gcp:storage/bucket:Bucket"):
        if "encryption" not in bucket.inputs:
            yield f"bucket {bucket.name}: no default_kms_key_name"


def open_metadata(yard: Yard) -> Iterator[str]:
    """Machines that take keys from metadata, or talk on a serial console."""
    for template in yard.of(*_TEMPLATES):
        given = template.inputs.get("metadata")
        metadata = given if isinstance(given, Mapping) else {}
        if not truth(metadata.get("block-project-ssh-keys")) or not truth(metadata.get("enable-oslogin")):
            yield f'{_word(template)} {template.name}: say metadata block-project-ssh-keys="TRUE" and enable-oslogin="TRUE"'
        if truth(metadata.get("serial-port-enable")):
            yield f"{_word(template)} {template.name}: its serial console is open"


def _is_ssh(rule: Resource) -> bool:
    return all(allowed.get("protocol") == "tcp" and allowed.get("ports") == ["22"] for allowed in _list(rule, "allows"))


def _list(resource: Resource, key: str) -> list[Mapping[str, Any]]:
    value = resource.inputs.get(key, [])
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _word(resource: Resource) -> str:
    return resource.kind.rpartition(":")[2]
