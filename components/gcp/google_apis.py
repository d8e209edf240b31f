"""The door to Google's own services for a network without the internet: their private addresses, a route there, and names that lead to it.

cloud.google.com/vpc/docs/configure-private-google-access
"""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute, dns

from .project import GcpComponent

VIP = "199.36.153.8/30"
"""private.googleapis.com: every Google API that supports it, the registry and storage among them."""
_ADDRESSES = ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]
_DOMAINS = {"googleapis": "googleapis.com.", "registry": "pkg.dev.", "containers": "gcr.io."}


def make_google_access(parent: GcpComponent, network_id: pulumi.Output[str]) -> list[pulumi.Output[str]]:
    """Make them as children of `parent`. Returns what must be there before a node can use it."""
    route = compute.Route(
        parent.child_name("google"),
        network=network_id,
        dest_range=VIP,
        next_hop_gateway="default-internet-gateway",  # so it is called; these addresses never leave Google
        description="Google's own services, privately",
        opts=parent.child_options(),
    )
    return [pulumi.Output.from_input(route.id), *(_names(parent, network_id, key, domain) for key, domain in _DOMAINS.items())]


def _names(parent: GcpComponent, network_id: pulumi.Output[str], key: str, domain: str) -> pulumi.Output[str]:
    """A zone that only this network sees, in which every name of a domain has the private addresses."""
    zone = dns.ManagedZone(
        parent.child_name(f"names-{key}"),
        dns_name=domain,
        visibility="private",
        description=f"{domain[:-1]}, privately",
        private_visibility_config={"networks": [{"network_url": network_id}]},
        labels=parent.gcp_labels(f"names-{key}"),
        opts=parent.child_options(),
    )
    itself = dns.RecordSet(
        parent.child_name(f"names-{key}-a"),
        managed_zone=zone.name,
        name=domain,
        type="A",
        ttl=300,
        rrdatas=_ADDRESSES,
        opts=parent.child_options(),
    )
    below = dns.RecordSet(
        parent.child_name(f"names-{key}-all"),
        managed_zone=zone.name,
        name=f"*.{domain}",
        type="CNAME",
        ttl=300,
        rrdatas=[domain],
        opts=parent.child_options(depends_on=[itself]),
    )
    return pulumi.Output.from_input(below.id)
