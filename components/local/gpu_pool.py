"""A pool of nodes on this machine. Each node has an equal share of the machine's GPUs, or CPU slots."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi import dynamic

from ...counts import counted
from ...plain_data import PlainDict
from ..pool_base import PoolBase
from ..spec import GpuPoolSpec
from .disk import PoolProvider
from .files import as_content
from .gpus import find_gpus
from .network import Network
from .root import pool_path

__all__ = ["GpuPool", "plan_pool"]

_CPU_SLOTS = 2  # per node without GPUs: enough to be a distributed job


class GpuPool(PoolBase[Network]):
    """Equal nodes on this machine. A directory under `<local:root>/pools` records the nodes and their jobs."""

    cloud = "local"
    _output_names = ("id", "machine", "nodes")
    machine: str
    accelerator: str | None
    """Model of the GPUs, such as H100. None: the nodes have CPU slots."""
    gpus_per_node: int
    slots_per_node: int
    nodes: list[PlainDict]
    """The nodes in pool.json: index, address, slots and GPUs of each node."""
    path: pulumi.Output[str]

    def _make(self) -> None:
        """Assign addresses and GPUs (or CPU slots) to the nodes, and make the pool's directory."""
        found = find_gpus()
        document = plan_pool(self.logical_name, self.spec, found.models, self.network.addresses(self.spec.max_nodes))
        self.machine, self.accelerator = document["machine"], document["accelerator"]
        self.nodes = document["nodes"]
        self.gpus_per_node, self.slots_per_node = len(self.nodes[0]["gpus"]), self.nodes[0]["slots"]
        self._warn(found.models, found.problem)
        directory = _Directory(self.child_name("directory"), pool_path(self.logical_name), document, self.child_options())
        self.path = self.id = directory.path

    def _warn(self, models: Sequence[str], problem: str | None) -> None:
        """Warn if the pool uses none of this machine's GPUs, unless the spec says `machine: cpu`."""
        if self.machine == "auto" and (problem or (models and not self.gpus_per_node)):
            gpus, nodes = counted(len(models), "GPU"), counted(len(self.nodes), "node")
            too_few = f"{gpus} cannot be divided over {nodes}, so the pool has CPU slots; lower max_nodes"
            pulumi.log.warn(f"pool {self.logical_name}: {problem or too_few}", self)


class _Directory(dynamic.Resource, module="gpuyard-local", name="GpuPool"):
    path: pulumi.Output[str]

    def __init__(self, name: str, path: str, document: PlainDict, opts: pulumi.ResourceOptions) -> None:
        # the old directory is deleted first, and that fails while a job runs
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True))
        super().__init__(PoolProvider(), name, {"path": path, "content": as_content(document)}, opts)


def plan_pool(name: str, spec: GpuPoolSpec, gpus: Sequence[str], addresses: Sequence[str]) -> PlainDict:
    """Return the content of pool.json: equal nodes, each with the same number of GPUs, or with CPU slots."""
    share = len(gpus) // spec.max_nodes if spec.machine == "auto" else 0
    used = sorted(set(gpus[: share * spec.max_nodes]))
    return {
        "version": 1,
        "pool": name,
        "machine": spec.machine,
        "accelerator": "+".join(used) or None,  # no job names two models, so none runs on a mixed pool by accident
        "nodes": [
            {
                "index": index,
                "address": address,
                "slots": share or _CPU_SLOTS,
                "gpus": list(range(index * share, (index + 1) * share)),
            }
            for index, address in enumerate(addresses)
        ],
    }
