"""The cluster of an `azureml` pool in its workspace, and what takes it to zero at the pool's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_azure_native as az

from ..expiry import End
from .account import AzureComponent
from .identity import assign
from .names import cluster_name
from .roles import ML_CLOSER, Grant

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

_IDLE = "PT15M"  # a node waits so long for the next job: starting one takes minutes
_IDLE_AT_THE_END = "PT2M"
_API = "2025-06-01"
_LATE = {"type": "ManagedServiceIdentity", "audience": "https://management.azure.com/"}


def make_cluster(parent: AzureComponent, pool: GpuPool, workspace: Any, registered: list[Any]) -> Any:
    """Nodes without public addresses, passwords or keys; none while there is no job, unless the pool holds some.

    The identity is the pool's: what runs there comes as it. `registered`: what must be there before its first node.
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
        opts=parent.child_options(depends_on=registered),
    )


def close_clusters(parent: AzureComponent, workspace: Any, clusters: dict[str, Any], end: End) -> None:
    """From the end on, each day, a small workflow sets every cluster's size to zero. Azure ML has no such clock of its own.

    Jobs that still run keep their nodes until they end. The workflow's role is about the clusters of this one workspace: no built-in role
    sets sizes alone.
    """
    names = pulumi.Output.all(workspace.id, *(cluster.name for cluster in clusters.values()))
    keys = list(clusters)
    flow = az.logic.Workflow(
        parent.child_name("end"),
        resource_group_name=parent.group.name,
        identity={"type": "SystemAssigned"},
        state="Enabled",
        definition=names.apply(lambda known: closing(known[0], dict(zip(keys, known[1:], strict=True)), end)),
        tags=parent.azure_tags(),
        opts=parent.child_options(),
    )
    assign(parent, Grant("close", ML_CLOSER, workspace.id), flow.identity.apply(lambda found: str(found.principal_id)))


def closing(workspace_id: str, clusters: dict[str, str], end: End) -> dict[str, Any]:
    """The workflow: pure. One call for each cluster, by the label that people know it by."""
    size = {"minNodeCount": 0, "maxNodeCount": 0, "nodeIdleTimeBeforeScaleDown": _IDLE_AT_THE_END}
    calls = {
        label: {
            "type": "Http",
            "runAfter": {},
            "inputs": {
                "method": "PATCH",
                "uri": f"https://management.azure.com{workspace_id}/computes/{name}?api-version={_API}",
                "body": {"properties": {"properties": {"scaleSettings": size}}},
                "authentication": _LATE,
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
