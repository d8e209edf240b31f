"""The Azure ML cluster of an `azureml` pool, and the workflow that scales clusters to zero at the yard's expiry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pulumi
import pulumi_azure_native as az

from ...plain_data import PlainDict
from ..expiry import End
from .account import AzureComponent
from .identity import assign
from .names import cluster_name
from .roles import ML_CLOSER, Grant

if TYPE_CHECKING:
    from pulumi_azure_native import machinelearningservices as ml

    from .gpu_pool import GpuPool

__all__ = ["close_clusters", "closing_workflow", "make_cluster"]

_IDLE = "PT15M"  # time that an idle node waits for the next job, because starting a node takes minutes
_IDLE_AT_THE_END = "PT2M"
_API = "2025-06-01"
_FIXED = ["properties.properties.vmSize", "properties.properties.vmPriority"]
_AUTHENTICATION = {"type": "ManagedServiceIdentity", "audience": "https://management.azure.com/"}


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
        min_node_count=0 if pool.closed else pool.spec.min_nodes,
        max_node_count=0 if pool.closed else pool.spec.max_nodes,
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
    """Make a workflow that scales every cluster to zero, every day from the yard's expiry on. Azure ML itself has no schedule for this.

    Running jobs keep their nodes until they end. The workflow's role also allows it to create and delete clusters of this workspace,
    because no built-in role is narrower.
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
    assign(parent, Grant("close", ML_CLOSER, workspace.id), flow.identity.apply(lambda found: str(found.principal_id)))


def closing_workflow(workspace_id: str, clusters: dict[str, str], end: End) -> PlainDict:
    """Return the definition of the closing workflow: one request for each cluster, named after its pool."""
    size = {"minNodeCount": 0, "maxNodeCount": 0, "nodeIdleTimeBeforeScaleDown": _IDLE_AT_THE_END}
    calls = {
        label: {
            "type": "Http",
            "runAfter": {},
            "inputs": {
                "method": "PATCH",
                "uri": f"https://management.azure.com{workspace_id}/computes/{name}?api-version={_API}",
                "body": {"properties": {"properties": {"scaleSettings": size}}},
                "authentication": _AUTHENTICATION,
            },
        }
        for label, name in clusters.items()
    }
    daily = {"frequency": "Day", "interval": 1, "startTime": f"{end.at:%Y-%m-%dT%H:%M:%SZ}"}
    return {
        "$schema": "https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/workflowdefinition.json#",
        "contentVersion": "1.0.0.0",
        "triggers": {"end": {"type": "Recurrence", "recurrence": daily}},
        "actions": calls,
        "outputs": {},
    }
