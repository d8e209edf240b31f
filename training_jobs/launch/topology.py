"""Reads this node's rank and addresses from the environment variables of its service: one row per service."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .address import interface_of, own_address
from .hook import BAD_CONFIG
from .node_exit import NodeExitError

__all__ = ["SERVICES", "NodePlacement", "PlacementSource", "read_placement"]


@dataclass(frozen=True)
class NodePlacement:
    """This node among the nodes of the job. `interface`: the one that gloo and NCCL bind to, None = they choose."""

    rank: int
    nodes: int
    main_address: str
    address: str
    port: int
    interface: str | None


@dataclass(frozen=True)
class PlacementSource:
    """A service that starts nodes. `cloud`: whose metadata service announces preemptions, or "off"; see preemption/metadata.py."""

    read: Callable[[Mapping[str, str]], NodePlacement]
    cloud: str


def read_placement(env: Mapping[str, str]) -> NodePlacement:
    """Read this node's placement. Raises NodeExitError (64) for an unknown service and a missing or malformed variable."""
    service = env.get("GPUYARD_SERVICE", "")
    if service not in SERVICES:
        raise NodeExitError(BAD_CONFIG, f"GPUYARD_SERVICE: unknown service, got {service!r}, allowed: {', '.join(sorted(SERVICES))}")
    try:
        placement = SERVICES[service].read(env)
    except KeyError as error:
        raise NodeExitError(BAD_CONFIG, f"the service '{service}' did not set {error.args[0]} on this node") from None
    except ValueError as error:
        raise NodeExitError(BAD_CONFIG, f"a variable of the service '{service}' is malformed: {error}") from None
    if not 0 <= placement.rank < placement.nodes:
        raise NodeExitError(BAD_CONFIG, f"node rank: got {placement.rank}, allowed: 0 to {placement.nodes - 1}")
    return placement


def _local(env: Mapping[str, str]) -> NodePlacement:
    return NodePlacement(
        rank=int(env["GPUYARD_NODE_RANK"]),
        nodes=int(env["GPUYARD_NUM_NODES"]),
        main_address=env["GPUYARD_MAIN_ADDRESS"],
        address=env["GPUYARD_NODE_ADDRESS"],
        port=int(env["GPUYARD_PORT"]),
        interface="lo0" if sys.platform == "darwin" else "lo",
    )


_SAGEMAKER_CONFIG = Path("/opt/ml/input/config/resourceconfig.json")
_PORT = 29400


def _sagemaker(env: Mapping[str, str]) -> NodePlacement:
    """Read the variables of SageMaker's training toolkit, or the service's own file where they are missing."""
    if "SM_HOSTS" in env:
        hosts, current, interface = json.loads(env["SM_HOSTS"]), env["SM_CURRENT_HOST"], env.get("SM_NETWORK_INTERFACE_NAME")
    else:
        try:
            config = json.loads(_SAGEMAKER_CONFIG.read_bytes())
        except FileNotFoundError:
            raise KeyError(f"{_SAGEMAKER_CONFIG} or SM_HOSTS") from None
        hosts, current, interface = config["hosts"], config["current_host"], config.get("network_interface_name")
    hosts = sorted(hosts)  # the order is the same on every node: the first is the main node
    port = int(env.get("GPUYARD_PORT", _PORT))
    return NodePlacement(hosts.index(current), len(hosts), hosts[0], current, port, interface)


def _batch(env: Mapping[str, str]) -> NodePlacement:
    """Read the variables of a multi-node parallel job. A job of one node has none, and the main node has no main address."""
    port = int(env.get("GPUYARD_PORT", _PORT))
    if "AWS_BATCH_JOB_NUM_NODES" not in env:
        return NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", port, None)
    nodes, main = int(env["AWS_BATCH_JOB_NUM_NODES"]), int(env["AWS_BATCH_JOB_MAIN_NODE_INDEX"])
    rank = (int(env["AWS_BATCH_JOB_NODE_INDEX"]) - main) % nodes
    main_address = env["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] if rank else None
    address = own_address(env, main_address)
    return NodePlacement(rank, nodes, main_address or address, address, port, interface_of(address))


def _vertex(env: Mapping[str, str]) -> NodePlacement:
    """Read CLUSTER_SPEC: the first node is the only one of workerpool0, the others are those of workerpool1, in order."""
    spec = json.loads(env["CLUSTER_SPEC"])
    pools, task = spec["cluster"], spec["task"]
    hosts = [host.rsplit(":", 1)[0] for pool in sorted(pools) for host in pools[pool]]  # without the frameworks' port
    before = sum(len(pools[pool]) for pool in pools if pool < task["type"])
    rank = before + int(task["index"])
    return NodePlacement(rank, len(hosts), hosts[0], hosts[rank], int(env.get("GPUYARD_PORT", _PORT)), _interface_of_host(hosts[rank]))


def _interface_of_host(host: str) -> str | None:
    """Return the interface of a host name of this node; None when the name does not resolve to one of its addresses."""
    try:
        return interface_of(socket.gethostbyname(host))
    except OSError:
        return None


def _azureml(env: Mapping[str, str]) -> NodePlacement:
    """Read the variables of a PyTorch job with one process per node. A job of one node may have none of them."""
    port = int(env.get("GPUYARD_PORT", _PORT))
    nodes = int(env.get("AZUREML_NODE_COUNT", env.get("WORLD_SIZE", "1")))
    if nodes == 1:
        return NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", port, None)
    main = env["MASTER_ADDR"]
    address = env.get("GPUYARD_NODE_ADDRESS") or own_address(env, main)
    return NodePlacement(int(env["NODE_RANK"]), nodes, main, address, port, _interface_of_host(address))


# SageMaker announces a spot interruption to the container by SIGTERM; containers cannot reach the metadata service.
SERVICES: dict[str, PlacementSource] = {
    "local": PlacementSource(_local, cloud="off"),
    "batch": PlacementSource(_batch, cloud="aws"),
    "sagemaker": PlacementSource(_sagemaker, cloud="off"),
    "vertex": PlacementSource(_vertex, cloud="gcp"),
    "azureml": PlacementSource(_azureml, cloud="azure"),
}
