"""The resources of a `vertex` pool: a network attachment and, with min_nodes, a persistent resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
from pulumi_gcp import compute, vertex

from ..base import after, this_stack
from ..catalogue import Machine
from ..expiry import End
from ..naming import shorten
from .identity import grant_on_project
from .machines import family
from .project import ProjectLookup
from .schedule import request_at_end
from .service_agents import service_agent

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["attach_network", "delete_persistent_resource", "make_persistent_resource", "vertex_disk"]

_ID_LIMIT = 63


def attach_network(pool: GpuPool, region: str, subnet_id: pulumi.Input[str], where: ProjectLookup) -> pulumi.Output[str]:
    """Make a network attachment of the subnet for Vertex AI's machines. Its id is known after Vertex AI may use it.

    The attachment uses Private Service Connect. Peering would reserve an address range of the network for Google. The attachment accepts
    only Google's project for these machines: Vertex AI's agent may update the accept list, and adds the project. `pulumi destroy` leaves
    the attachment in the project, where it costs nothing, because Google refuses to delete it for some days after a job.
    cloud.google.com/vertex-ai/docs/training/psc-i-egress (2026-12-01)
    """
    attachment = compute.NetworkAttachment(
        pool.child_name("attachment"),
        region=region,
        subnetworks=[subnet_id],
        connection_preference="ACCEPT_MANUAL",
        description="Vertex AI's machines of this pool reach the yard's network",
        opts=pool.child_options(retain_on_delete=True, ignore_changes=["producerAcceptLists"]),
    )
    agent = service_agent(pool, "aiplatform", where)
    return after(attachment.id, [grant_on_project(pool, "attach-network", agent.member, where, attachment.name, agent.made)])


def make_persistent_resource(pool: GpuPool, region: str, attachment: pulumi.Input[str] | None) -> pulumi.Output[str]:
    """Make a persistent resource with `min_nodes` machines, which Vertex AI scales up to `max_nodes`. Google bills it while it exists."""
    spec, row, key_id = pool.spec, pool.machine, pool.key_id
    machines = {
        "machine_spec": {"machine_type": row.name, "accelerator_type": family(row).accelerator, "accelerator_count": row.gpus},
        "disk_spec": {"boot_disk_type": vertex_disk(row), "boot_disk_size_gb": spec.root_disk_gib},
    }
    grows = spec.max_nodes > spec.min_nodes  # the provider expects these numbers as strings
    size = {"autoscaling_spec": {"min_replica_count": str(spec.min_nodes), "max_replica_count": str(spec.max_nodes)}} if grows else {}
    held = vertex.AiPersistentResource(
        pool.child_name("held"),
        name=shorten(pool.child_name("held"), f"{this_stack()} {pool.logical_name}", _ID_LIMIT),
        display_name=pool.child_name("held"),
        location=region,
        resource_pools=[{**machines, **size, "replica_count": str(spec.min_nodes)}],
        # else jobs run as a service agent of the whole project: cloud.google.com/vertex-ai/docs/general/custom-service-account
        resource_runtime_spec={"service_account_spec": {"enable_custom_service_account": True}},
        labels=pool.gcp_labels("held"),
        **({"psc_interface_config": {"network_attachment": attachment}} if attachment is not None else {}),
        **({"encryption_spec": {"kms_key_name": key_id}} if key_id is not None else {}),
        opts=pool.child_options(),
    )
    return pulumi.Output.from_input(held.name)


def delete_persistent_resource(pool: GpuPool, end: End, region: str, held: pulumi.Output[str], where: ProjectLookup) -> None:
    """Schedule the deletion of the persistent resource, which releases its machines."""
    uri = pulumi.Output.all(where.id, held).apply(
        lambda words: f"https://{region}-aiplatform.googleapis.com/v1/projects/{words[0]}/locations/{region}/persistentResources/{words[1]}"
    )
    request_at_end(pool, end, region, where, "delete-held", "DELETE", uri)


def vertex_disk(row: Machine) -> str:
    """Return the type of boot disk for Vertex AI: its default, or Hyperdisk on machines that support nothing else."""
    return "hyperdisk-balanced" if family(row).disk.startswith("hyperdisk") else "pd-ssd"
