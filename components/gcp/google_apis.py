"""Private Google Access without internet: a route to the private addresses of Google's APIs, and DNS zones.

cloud.google.com/vpc/docs/configure-private-google-access
"""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute, dns

from .project import GcpComponent

__all__ = ["VIP", "make_google_access"]

VIP = "199.36.153.8/30"
"""Addresses of private.googleapis.com, through which nodes reach Google's APIs, also Artifact Registry and Cloud Storage."""
_ADDRESSES = ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]
_DOMAINS = {"googleapis": "googleapis.com.", "registry": "pkg.dev.", "containers": "gcr.io."}


def make_google_access(parent: GcpComponent, network_id: pulumi.Output[str]) -> list[pulumi.Output[str]]:
    """Make the route and the DNS zones for a network. Return the ids that a node must wait for."""
    route = compute.Route(
        parent.child_name("google"),
        network=network_id,
        dest_range=VIP,
        next_hop_gateway="default-internet-gateway",  # Google requires this next hop; the traffic stays in Google's network
        description="Google's own services, privately",  # changing it would replace the route
        opts=parent.child_options(),
    )
    return [pulumi.Output.from_input(route.id), *(_make_zone(parent, network_id, key, domain) for key, domain in _DOMAINS.items())]


def _make_zone(parent: GcpComponent, network_id: pulumi.Output[str], key: str, domain: str) -> pulumi.Output[str]:
    """Make a private DNS zone, only for this network: every name of the domain gets the private addresses."""
    zone = dns.ManagedZone(
        parent.child_name(f"names-{key}"),
        dns_name=domain,
        visibility="private",
        description=f"private addresses of {domain[:-1]}",
        private_visibility_config={"networks": [{"network_url": network_id}]},
        labels=parent.gcp_labels(f"names-{key}"),
        opts=parent.child_options(),
    )
    apex = dns.RecordSet(
        parent.child_name(f"names-{key}-a"),
        managed_zone=zone.name,
        name=domain,
        type="A",
        ttl=300,
        rrdatas=_ADDRESSES,
        opts=parent.child_options(),
    )
    wildcard = dns.RecordSet(
        parent.child_name(f"names-{key}-all"),
        managed_zone=zone.name,
        name=f"*.{domain}",
        type="CNAME",
        ttl=300,
        rrdatas=[domain],
        opts=parent.child_options(depends_on=[apex]),
    )
    return pulumi.Output.from_input(wildcard.id)
