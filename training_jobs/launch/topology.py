"""Where this node stands: one row per service, from its environment variables to one shape."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .address import interface_of, own_address
from .hook import BAD_CONFIG
from .node_exit import EndedError


@dataclass(frozen=True)
class Place:
    """This node among the others. `interface` is what gloo binds to; None lets it choose."""

    rank: int
    nodes: int
    main_address: str
    address: str
    port: int
    interface: str | None


@dataclass(frozen=True)
class Row:
    """One service. `cloud`: whose metadata service tells its nodes that they are taken away, see clouds.py; off = nobody's."""

    place: Callable[[Mapping[str, str]], Place]
    cloud: str


def place(env: Mapping[str, str]) -> Place:
    """Read this node's place. Raises EndedError (64) for an unknown service or a variable that is missing or wrong."""
    service = env.get("GPUYARD_SERVICE", "")
    if service not in ROWS:
        known = ", ".join(sorted(ROWS))
        raise EndedError(BAD_CONFIG, f"GPUYARD_SERVICE names no service this version knows: got {service!r}, allowed: {known}")
    try:
        found = ROWS[service].place(env)
    except KeyError as error:
        raise EndedError(BAD_CONFIG, f"the service '{service}' did not set {error.args[0]} on this node") from None
    except ValueError as error:
        raise EndedError(BAD_CONFIG, f"a variable of the service '{service}' is malformed: {error}") from None
    if not 0 <= found.rank < found.nodes:
        raise EndedError(BAD_CONFIG, f"node rank {found.rank} is not among {found.nodes} nodes")
    return found


def _local(env: Mapping[str, str]) -> Place:
    return Place(
        rank=int(env["GPUYARD_NODE_RANK"]),
        nodes=int(env["GPUYARD_NUM_NODES"]),
        main_address=env["GPUYARD_MAIN_ADDRESS"],
        address=env["GPUYARD_NODE_ADDRESS"],
        port=int(env["GPUYARD_PORT"]),
        interface="lo0" if sys.platform == "darwin" else "lo",
    )


_SAGEMAKER_CONFIG = Path("/opt/ml/input/config/resourceconfig.json")
_PORT = 29400


def _sagemaker(env: Mapping[str, str]) -> Place:
    """From the service's own file, or the variables that SageMaker's training toolkit makes of it."""
    if "SM_HOSTS" in env:
        hosts, current, interface = json.loads(env["SM_HOSTS"]), env["SM_CURRENT_HOST"], env.get("SM_NETWORK_INTERFACE_NAME")
    else:
        try:
            said = json.loads(_SAGEMAKER_CONFIG.read_bytes())
        except FileNotFoundError:
            raise KeyError(f"{_SAGEMAKER_CONFIG} or SM_HOSTS") from None
        hosts, current, interface = said["hosts"], said["current_host"], said.get("network_interface_name")
    hosts = sorted(hosts)  # every node sorts alike: the first is the main one
    port = int(env.get("GPUYARD_PORT", _PORT))
    return Place(hosts.index(current), len(hosts), hosts[0], current, port, interface)


def _batch(env: Mapping[str, str]) -> Place:
    """From the variables of a multi-node parallel job; a job of one node has none of them, and the main node not its own address."""
    port = int(env.get("GPUYARD_PORT", _PORT))
    if "AWS_BATCH_JOB_NUM_NODES" not in env:
        return Place(0, 1, "127.0.0.1", "127.0.0.1", port, None)
    nodes, main = int(env["AWS_BATCH_JOB_NUM_NODES"]), int(env["AWS_BATCH_JOB_MAIN_NODE_INDEX"])
    rank = (int(env["AWS_BATCH_JOB_NODE_INDEX"]) - main) % nodes
    told = env["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] if rank else None
    address = own_address(env, told)
    return Place(rank, nodes, told or address, address, port, interface_of(address))


def _vertex(env: Mapping[str, str]) -> Place:
    """From CLUSTER_SPEC: the first node is the only one of workerpool0, the others are those of workerpool1, in order."""
    said = json.loads(env["CLUSTER_SPEC"])
    pools, task = said["cluster"], said["task"]
    hosts = [host.rsplit(":", 1)[0] for pool in sorted(pools) for host in pools[pool]]  # the ports are for frameworks that ask for one
    before = sum(len(pools[pool]) for pool in pools if pool < task["type"])
    rank = before + int(task["index"])
    return Place(rank, len(hosts), hosts[0], hosts[rank], int(env.get("GPUYARD_PORT", _PORT)), _interface(hosts[rank]))


def _interface(host: str) -> str | None:
    """That of a name of this node; None, and gloo looks for itself, where the name leads nowhere or to no address of its own."""
    try:
        return interface_of(socket.gethostbyname(host))
    except OSError:
        return None


def _azureml(env: Mapping[str, str]) -> Place:
    """From the variables of a PyTorch job with one process on each node; a job of one node may have none of them."""
    port = int(env.get("GPUYARD_PORT", _PORT))
    nodes = int(env.get("AZUREML_NODE_COUNT", env.get("WORLD_SIZE", "1")))
    if nodes == 1:
        return Place(0, 1, "127.0.0.1", "127.0.0.1", port, None)
    main = env["MASTER_ADDR"]
    address = env.get("GPUYARD_NODE_ADDRESS") or own_address(env, main)
    return Place(int(env["NODE_RANK"]), nodes, main, address, port, _interface(address))


# A spot notice reaches a SageMaker container as SIGTERM; its metadata service is not there to be asked.
ROWS: dict[str, Row] = {
    "local": Row(_local, cloud="off"),
    "batch": Row(_batch, cloud="aws"),
    "sagemaker": Row(_sagemaker, cloud="off"),
    "vertex": Row(_vertex, cloud="gcp"),
    "azureml": Row(_azureml, cloud="azure"),
}
