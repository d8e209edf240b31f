"""The Azure ML cluster of an `azureml` pool, and the workflow that deletes clusters at the yard's expiry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pulumi
import pulumi_azure_native as az

from ...plain_data import PlainDict
from ..expiry import End
from .account import AzureComponent
from .identity import assign, define_role
from .logic_app import call, definition
from .names import cluster_name
from .roles import ML_CLOSER, Grant

if TYPE_CHECKING:
    from pulumi_azure_native import machinelearningservices as ml

    from .gpu_pool import GpuPool

__all__ = ["close_clusters", "closing_workflow", "make_cluster"]

_IDLE = "PT15M"  # time that an idle node waits for the next job, because starting a node takes minutes
_API = "2025-06-01"
_AT_WORK = ("running", "preparing")
"""States of nodes with a job: learn.microsoft.com/rest/api/azureml/compute/get (NodeStateCounts)."""
_FIXED = ["properties.properties.vmSize", "properties.properties.vmPriority"]


def make_cluster(
    parent: AzureComponent,
    pool: GpuPool,
    workspace: ml.Workspace,
    before: Sequence[pulumi.Resource],
) -> ml.Compute:
    """Make a cluster without public addresses, passwords or keys. It has `min_nodes` nodes while there is no job.

    Jobs have the pool's identity. `before`: resources that must exist first (outbound rules, another cluster).
    """
    ml = az.machinelearningservices
    scale = ml.ScaleSettingsArgs(
        min_node_count=pool.spec.min_nodes,
        max_node_count=pool.spec.max_nodes,
        node_idle_time_before_scale_down=_IDLE,
    )
    nodes = ml.AmlComputePropertiesArgs(
        vm_size=pool.machine.name,
        vm_priority="LowPriority" if pool.spec.mode == "spot" else "Dedicated",
        os_type="Linux",
        enable_node_public_ip=False,
        remote_login_port_public_access="Disabled",
        scale_settings=scale,
    )
    return ml.Compute(
        parent.child_name(f"{pool.logical_name}-cluster"),
        resource_group_name=parent.group.name,
        workspace_name=workspace.name,
        compute_name=cluster_name(pool.logical_name),
        identity={"type": "UserAssigned", "user_assigned_identities": [pool.identity.id]},
        properties=ml.AmlComputeArgs(compute_type="AmlCompute", disable_local_auth=True, properties=nodes),
        tags=parent.azure_tags(),
        # Azure ML keeps the old size if a cluster's size is changed in place, and cannot have two clusters of one name
        opts=parent.child_options(depends_on=list(before), delete_before_replace=True, replace_on_changes=_FIXED),
    )


def close_clusters(
    parent: AzureComponent,
    workspace: az.machinelearningservices.Workspace,
    clusters: dict[str, az.machinelearningservices.Compute],
    end: End,
) -> None:
    """Make a workflow that deletes each cluster without running jobs, every hour from the yard's expiry on.

    Azure ML has no schedule for this, and does not document that a cluster may have a maximum of zero nodes.
    """
    names = pulumi.Output.all(workspace.id, *(cluster.name for cluster in clusters.values()))
    keys = list(clusters)
    flow = az.logic.Workflow(
        parent.child_name("end"),
        resource_group_name=parent.group.name,
        identity={"type": "SystemAssigned"},
        state="Enabled",
        definition=names.apply(lambda known: closing_workflow(known[0], dict(zip(keys, known[1:], strict=True)), end)),
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    assign(
        parent,
        Grant("close", define_role(parent, "deletes-clusters", ML_CLOSER), workspace.id),
        flow.identity.apply(lambda found: str(found.principal_id)),
    )


def closing_workflow(workspace_id: str, clusters: dict[str, str], end: End) -> PlainDict:
    """Return the definition of the closing workflow. It deletes a cluster when no node runs or prepares for a job.

    A cluster that is deleted already is no error. `clusters`: name by pool.
    """
    actions: PlainDict = {}
    for label, name in clusters.items():
        read, counts = f"Read_{label}", f"body('Read_{label}')?['properties']?['properties']?['nodeStateCounts']"
        cluster = f"{workspace_id}/computes/{name}"
        actions[read] = call("GET", cluster, {"api-version": _API})
        actions[label] = {
            "type": "If",
            "expression": {"and": [{"equals": [f"@{counts}?['{state}NodeCount']", 0]} for state in _AT_WORK]},
            "actions": {f"Delete_{label}": call("DELETE", cluster, {"api-version": _API, "underlyingResourceAction": "Delete"})},
            "runAfter": {read: ["Succeeded"]},
        }
        actions[f"Done_{label}"] = {"type": "Compose", "inputs": name, "runAfter": {label: ["Succeeded", "Failed", "Skipped"]}}
    hourly = {"frequency": "Hour", "interval": 1, "startTime": f"{end.at:%Y-%m-%dT%H:%M:%SZ}"}
    return definition({"end": {"type": "Recurrence", "recurrence": hourly}}, actions)
