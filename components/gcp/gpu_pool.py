"""A pool of equal GPU machines: those of Vertex AI (reserved, held, or had for a job alone), or an instance group for other launchers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_gcp import compute

from .. import catalogue
from ..base import Tags, checked
from ..expiry import End, end_of, is_past, warning
from ..naming import name_problems
from ..spec.fields import as_mapping
from ..spec.pool import GpuPoolSpec
from .cidr import region_of
from .fabric import make_fabric
from .identity import Identity
from .instance_template import image_of, instance_template, is_bound, placement, together
from .key import EncryptionKey
from .labels import STACK_LABEL
from .machine_group import ask_for_flex, close_group, launcher_lines, machine_group
from .machines import fabric_of
from .network import Network
from .pool_rules import key_problems, pool_problems
from .project import GcpComponent, ProjectLookup
from .vertex_pool import attach_network, close_held, hold_nodes

_YEAR = datetime.timedelta(days=364)
_TOO_FAR = (
    "its end, {end.at:%Y-%m-%d}, is more than a year away, and Google's schedules know no year: "
    "`pulumi up` within a year of it makes the schedule"
)
_PROXY = "35.235.240.0/20"  # cloud.google.com/iap/docs/using-tcp-forwarding
_NODE_ROLES = ("write-logs", "write-metrics", "pull-images")


class GpuPool(GcpComponent):
    """N equal machines. `expires` in its tags takes it to zero nodes by itself, flex start its own hours.

    What is None below is not there for the pool's service.
    """

    spec: GpuPoolSpec
    machine: catalogue.Machine
    network: Network
    id: pulumi.Output[str]
    """Name of the instance group (vms) or of the persistent resource (vertex with min_nodes), else the pool's own name."""
    nodes: int
    """At most."""
    node_member: pulumi.Output[str] | None
    """vms: serviceAccount:EMAIL of the machines, for grants."""
    network_attachment: pulumi.Output[str] | None
    """vertex: by which its machines reach the yard's network."""
    persistent_resource: pulumi.Output[str] | None
    """vertex with min_nodes: id of what holds them."""
    scale_command: pulumi.Output[str] | None
    """vms: a shell line that starts all machines."""
    hostfile_command: pulumi.Output[str] | None
    """vms: a shell line that writes the addresses of the running machines to `hosts`."""
    torchrun: pulumi.Output[str] | None
    """vms: the line to run on every machine, with `hosts` beside it."""

    def __init__(
        self,
        name: str,
        spec: GpuPoolSpec | Mapping[str, Any],
        *,
        network: Network,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the pool in `network`.

        `key`: what its disks are under, made with uses compute (vms) or aiplatform (vertex); default: Google's own key.
        """
        expires = {**getattr(opts.parent if opts else None, "tags", {}), **(tags or {})}.get("expires")
        raw = as_mapping(spec)
        also = [
            *name_problems(name),
            *pool_problems(raw, network.logical_name, list(network.subnet_ids), expires),
            *key_problems(key, str(raw.get("service"))),
        ]
        self.spec = checked(GpuPoolSpec, spec, f"GpuPool {name}", self.cloud, also)
        super().__init__("GpuPool", name, self.spec.model_dump(exclude_unset=True), tags, opts)
        self.machine, self.network, self.nodes = self.spec.row(self.cloud), network, self.spec.max_nodes
        self.node_member = self.network_attachment = self.persistent_resource = None
        self.scale_command = self.hostfile_command = self.torchrun = None
        end, now = end_of(self.spec, expires), datetime.datetime.now(datetime.UTC)
        self._closed, self._key_id = is_past(end, now), key.id if key else None
        if told := warning(end, now):
            pulumi.log.warn(f"pool {name}: {told}", self)
        if end is not None and end.at - now > _YEAR:
            pulumi.log.warn(f"pool {name}: {_TOO_FAR.format(end=end)}", self)
            end = None
        if self.spec.service == "vms":
            self._hold_in_a_group(end)
        else:
            self._leave_to_vertex(end)
        self.register_outputs(
            {
                "id": self.id,
                "machine": self.machine.name,
                "nodes": self.nodes,
                "scale": self.scale_command,
                "hostfile": self.hostfile_command,
                "torchrun": self.torchrun,
            }
        )

    def _leave_to_vertex(self, end: End | None) -> None:
        zone = self.spec.zone or next(iter(self.network.subnet_ids))
        where, region = ProjectLookup(self), region_of(zone)
        self.network_attachment = attach_network(self, region, self.network.subnet_ids[zone], where)
        self.id = pulumi.Output.from_input(self.logical_name)
        if self.spec.min_nodes and not self._closed:
            held = hold_nodes(self, self.spec, self.machine, region, self.network_attachment, self._key_id)
            self.id = self.persistent_resource = held
            if end is not None:
                close_held(self, end, region, held, where)

    def _hold_in_a_group(self, end: End | None) -> None:
        zone, where = str(self.spec.zone), ProjectLookup(self)
        identity = Identity(
            self.child_name("node"), purpose="machines of the pool", project_roles=_NODE_ROLES, project=where, opts=self.child_options()
        )
        self.node_member = identity.member
        self._rules(identity.email)
        fabric, policy = fabric_of(self.machine), placement(self, self.spec, self.machine, region_of(zone))
        template = instance_template(
            self,
            self.spec,
            self.machine,
            image=image_of(self, self.spec, self.machine),
            subnet_id=self.network.subnet_ids[zone],
            fabric=make_fabric(self, fabric, zone, identity.email, where.id) if fabric else [],
            account=identity.email,
            policy=policy,
            key_id=self._key_id,
        )
        whole = policy.id if policy and "workload_policy" in together(self.spec, self.machine) else None
        bulk = is_bound(self.spec, self.machine)
        group = machine_group(self, self.spec, zone, template, workload=whole, bulk=bulk, closed=self._closed)
        self.id = pulumi.Output.from_input(group.name)
        if not self._closed:
            ask_for_flex(self, self.spec, zone, group)
        if end is not None and not self._closed and self.spec.mode != "flex_start":  # those end by their own hours
            close_group(self, end, zone, group, where)
        self._tell(group, zone, where)

    def _tell(self, group: compute.InstanceGroupManager, zone: str, where: ProjectLookup) -> None:
        labels = {key: value for key, value in self.gcp_labels("node").items() if key in (STACK_LABEL, "name")}
        lines = pulumi.Output.all(group.name, where.id).apply(
            lambda known: launcher_lines(known[0], known[1], zone, self.spec, self.machine.gpus, labels)._asdict()
        )
        self.scale_command, self.hostfile_command, self.torchrun = lines["scale"], lines["hostfile"], lines["torchrun"]

    def _rules(self, account: pulumi.Output[str]) -> None:
        """The pool's machines among each other, by who they are, not by where; and people, by Google's proxy. Nothing else enters."""
        compute.Firewall(
            self.child_name("nodes-in"),
            network=self.network.id,
            direction="INGRESS",
            allows=[{"protocol": "all"}],
            source_service_accounts=[account],
            target_service_accounts=[account],
            description="the pool's machines among each other",
            log_config={"metadata": "INCLUDE_ALL_METADATA"},
            opts=self.child_options(),
        )
        compute.Firewall(
            self.child_name("people-in"),
            network=self.network.id,
            direction="INGRESS",
            allows=[{"protocol": "tcp", "ports": ["22"]}],
            source_ranges=[_PROXY],
            target_service_accounts=[account],
            description="people with roles/iap.tunnelResourceAccessor, by SSH through Identity-Aware Proxy",
            log_config={"metadata": "INCLUDE_ALL_METADATA"},
            opts=self.child_options(),
        )
