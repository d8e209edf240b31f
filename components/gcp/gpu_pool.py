"""A pool of GPU machines of one type: run by Vertex AI, or an instance group for other launchers."""

from __future__ import annotations

import datetime

import pulumi
from pulumi_gcp import compute

from ...plain_data import PlainMapping
from ..base import Problems
from ..expiry import End
from ..pool_base import KeyedPoolBase
from .cidr import region_of
from .identity import Identity
from .instance_template import prepare_machines
from .key import EncryptionKey
from .labels import STACK_LABEL
from .machine_group import close_group, launcher_commands, machine_group, request_flex_start
from .machines import RULE_LOGS
from .network import Network
from .pool_rules import key_problems, pool_problems
from .project import GcpComponent, ProjectLookup
from .replacement_limit import limit_replacements
from .vertex_pool import attach_network, delete_persistent_resource, make_persistent_resource

__all__ = ["GpuPool"]

_YEAR = datetime.timedelta(days=364)
_IAP_RANGE = "35.235.240.0/20"  # cloud.google.com/iap/docs/using-tcp-forwarding
_NODE_ROLES = ("write-logs", "write-metrics", "pull-images")


class GpuPool(KeyedPoolBase[Network, EncryptionKey], GcpComponent):
    """Up to `max_nodes` machines of one type. At the yard's `expires` it goes to zero nodes; flex start machines stop after `max_hours`.

    `key`: a key with uses=("compute",) (vms) or uses=("aiplatform",) (vertex) that encrypts the disks; default: Google's own key.
    Attributes that do not apply to the pool's service are None.
    """

    id: pulumi.Output[str]
    """Name of the instance group (vms) or of the persistent resource (vertex with min_nodes), else the pool's own name."""
    node_member: pulumi.Output[str] | None
    """vms: serviceAccount:EMAIL of the machines, for IAM grants."""
    network_attachment: pulumi.Output[str] | None
    """vertex in an existing network: the attachment through which machines reach that network. None in a network that the yard makes."""
    persistent_resource: pulumi.Output[str] | None
    """vertex with min_nodes: id of the persistent resource that keeps machines running."""
    workflow_id: pulumi.Output[str] | None
    """vms: name of the workflow that stops the pool when its machines are broken. None if its group replaces no machines."""
    key_id: pulumi.Output[str] | None
    """The key that encrypts its disks; None: Google's key."""

    def _problems(self, given: PlainMapping, expires: str | None) -> Problems:
        found = pool_problems(given, self.network.logical_name, list(self.network.subnet_ids), expires)
        return [*found, *key_problems(self._key, str(given.get("service")))]

    def _make_machines(self) -> None:
        """Make an instance group (vms), or a network attachment and, with min_nodes, a persistent resource (vertex)."""
        self.key_id = self._key.id if self._key else None
        self.node_member = self.network_attachment = self.persistent_resource = self.workflow_id = None
        if self.spec.service == "vms":
            self._make_group()
        else:
            self._use_vertex()

    def _schedule(self) -> End | None:
        """Return the end to schedule now. None, with a warning, if it is over a year away: Google's schedules have no year."""
        end = None if self.closed else self.end
        if end is None or end.at - datetime.datetime.now(datetime.UTC) <= _YEAR:
            return end
        when = f"it expires in more than a year, on {end.at:%Y-%m-%d}, and Google's schedules have no year"
        pulumi.log.warn(f"pool {self.logical_name}: {when}; run `pulumi up` less than a year before that date to schedule its end", self)
        return None

    def _use_vertex(self) -> None:
        zone = self.spec.zone or next(iter(self.network.subnet_ids))
        project, region = ProjectLookup(self), region_of(zone)
        if self.network.egress is None:
            self.network_attachment = attach_network(self, region, self.network.subnet_ids[zone], project)
        schedule = self._schedule()
        if self.spec.min_nodes and not self.closed:
            self.id = self.persistent_resource = make_persistent_resource(self, region, self.network_attachment)
            if schedule is not None:
                delete_persistent_resource(self, schedule, region, self.persistent_resource, project)

    def _make_group(self) -> None:
        zone, project = str(self.spec.zone), ProjectLookup(self)
        identity = Identity(
            self.child_name("node"), purpose="machines of the pool", project_roles=_NODE_ROLES, project=project, opts=self.child_options()
        )
        self.node_member = identity.member
        self._allow_ingress(identity.email, self.network.rules_project(project.id))
        group = machine_group(self, zone, prepare_machines(self, zone, identity.email, project))
        self.id, schedule = pulumi.Output.from_input(group.name), self._schedule()
        if not self.closed:
            request_flex_start(self, zone, group)
        if not self.closed and self.spec.mode != "flex_start":  # a group with flex start replaces no machine
            self.workflow_id = limit_replacements(self, zone, group, project)
        if schedule is not None and self.spec.mode != "flex_start":  # flex start machines stop after max_hours
            close_group(self, schedule, zone, group, project)
        labels = {key: value for key, value in self.gcp_labels("node").items() if key in (STACK_LABEL, "name")}
        self._set_commands(
            self.id, project.id, lambda group, project: launcher_commands(group, project, zone, self.spec, self.machine.gpus, labels)
        )

    def _allow_ingress(self, account: pulumi.Output[str], host: pulumi.Output[str | None] | None) -> None:
        """Allow only two kinds of ingress: from the pool's own machines (by service account), and SSH through Identity-Aware Proxy.

        `host`: the host project of a Shared VPC.
        """
        compute.Firewall(
            self.child_name("nodes-in"),
            project=host,
            network=self.network.id,
            direction="INGRESS",
            allows=[{"protocol": "all"}],
            source_service_accounts=[account],
            target_service_accounts=[account],
            description="the pool's machines among each other",
            log_config=RULE_LOGS,
            opts=self.child_options(),
        )
        compute.Firewall(
            self.child_name("people-in"),
            project=host,
            network=self.network.id,
            direction="INGRESS",
            allows=[{"protocol": "tcp", "ports": ["22"]}],
            source_ranges=[_IAP_RANGE],
            target_service_accounts=[account],
            description="people with roles/iap.tunnelResourceAccessor, by SSH through Identity-Aware Proxy",
            log_config=RULE_LOGS,
            opts=self.child_options(),
        )
