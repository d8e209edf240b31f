"""What a Vertex AI pool holds: the door to the yard's network, and, with min_nodes, machines that stay."""

from __future__ import annotations

import pulumi
from pulumi_gcp import compute, vertex

from ..base import after, this_stack
from ..catalogue import Machine
from ..expiry import End
from ..naming import shorten
from ..spec.pool import GpuPoolSpec
from .identity import grant_on_project
from .key import AGENTS
from .machine_group import close_by
from .machines import family
from .project import GcpComponent, ProjectLookup

_ID_LIMIT = 63


def attach_network(pool: GcpComponent, region: str, subnet_id: pulumi.Input[str], where: ProjectLookup) -> pulumi.Output[str]:
    """An attachment of the subnet, which Vertex AI may connect machines to. Known once it may.

    Private Service Connect, not peering: the yard's network stays its own, and takes no range of addresses for Google.
    cloud.google.com/vertex-ai/docs/training/psc-i-egress
    """
    attachment = compute.NetworkAttachment(
        pool.child_name("attachment"),
        region=region,
        subnetworks=[subnet_id],
        connection_preference="ACCEPT_AUTOMATIC",
        description="Vertex AI's machines of this pool reach the yard's network",
        opts=pool.child_options(),
    )
    agent = where.number.apply(lambda number: f"serviceAccount:{AGENTS['aiplatform'].format(number=number)}")
    return after(attachment.id, [grant_on_project(pool, "attach-network", agent, where)])


def hold_nodes(
    pool: GcpComponent,
    spec: GpuPoolSpec,
    row: Machine,
    region: str,
    attachment: pulumi.Input[str],
    key_id: pulumi.Input[str] | None,
) -> pulumi.Output[str]:
    """A persistent resource with `min_nodes` machines, which Vertex AI adds to up to `max_nodes`. Billed as long as it is there."""
    machines = {
        "machine_spec": {"machine_type": row.name, "accelerator_type": family(row).accelerator, "accelerator_count": row.gpus},
        "disk_spec": {"boot_disk_type": vertex_disk(row), "boot_disk_size_gb": spec.root_disk_gib},
    }
    grows = spec.max_nodes > spec.min_nodes  # numbers as texts: so the provider wants them
    size = {"autoscaling_spec": {"min_replica_count": str(spec.min_nodes), "max_replica_count": str(spec.max_nodes)}} if grows else {}
    held = vertex.AiPersistentResource(
        pool.child_name("held"),
        name=shorten(pool.child_name("held"), f"{this_stack()} {pool.logical_name}", _ID_LIMIT),
        display_name=pool.child_name("held"),
        location=region,
        resource_pools=[{**machines, **size, "replica_count": str(spec.min_nodes)}],
        psc_interface_config={"network_attachment": attachment},
        # else jobs on it run as an agent that all of the project share: cloud.google.com/vertex-ai/docs/general/custom-service-account
        resource_runtime_spec={"service_account_spec": {"enable_custom_service_account": True}},
        labels=pool.gcp_labels("held"),
        **({"encryption_spec": {"kms_key_name": key_id}} if key_id is not None else {}),
        opts=pool.child_options(),
    )
    return pulumi.Output.from_input(held.name)


def close_held(pool: GcpComponent, end: End, region: str, held: pulumi.Output[str], where: ProjectLookup) -> None:
    """At the end the machines are given back: a schedule deletes what holds them."""
    uri = pulumi.Output.all(where.id, held).apply(
        lambda words: f"https://{region}-aiplatform.googleapis.com/v1/projects/{words[0]}/locations/{region}/persistentResources/{words[1]}"
    )
    close_by(pool, end, region, where, "delete-held", "DELETE", uri)


def vertex_disk(row: Machine) -> str:
    """The boot disk that Vertex AI takes for a machine: its own default, but where only Hyperdisk fits."""
    return "hyperdisk-balanced" if family(row).disk.startswith("hyperdisk") else "pd-ssd"
