"""Reads this node's rank and addresses from its service's environment variables. Each service has a row in SERVICES."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .address import address_of, interface_of, own_address
from .hook import BAD_CONFIG
from .node_exit import NodeExitError

__all__ = ["SERVICES", "NodePlacement", "PlacementSource", "data_folder", "read_placement"]


@dataclass(frozen=True)
class NodePlacement:
    """This node's rank and addresses, and the number of nodes in the job.

    `interface`: network interface for gloo and NCCL; None = their own choice.
    """

    rank: int
    nodes: int
    main_address: str
    """Address or name by which this node reaches node 0. On node 0: its own address."""
    address: str
    """An address of this node that it can bind."""
    port: int
    """Port of node 0's control channel. 0 until the nodes have exchanged it."""
    interface: str | None


@dataclass(frozen=True)
class PlacementSource:
    """A service that starts nodes. `cloud`: metadata service that announces preemptions (preemption/metadata.py), or "off"."""

    read: Callable[[Mapping[str, str]], NodePlacement]
    cloud: str
    start: str | None = None
    """Variable with a new id for each start. None if every node gets node 0's address from its service (main_address.py)."""
    scratch: str | None = None
    """Folder on the service's large disk, for copies of data. None if the job's own folder has enough space."""


def data_folder(env: Mapping[str, str], state: Path) -> Path:
    """Return the folder for copies of data. `state`: launch's folder in the job's own folder."""
    scratch = SERVICES[env["GPUYARD_SERVICE"]].scratch
    return state / "data" if scratch is None else Path(scratch) / "gpuyard-data"


def read_placement(env: Mapping[str, str]) -> NodePlacement:
    """Read this node's placement. Raises NodeExitError (64) for an unknown service or a missing or malformed variable."""
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
        raise NodeExitError(BAD_CONFIG, f"node rank: out of range, got {placement.rank}, allowed: 0 to {placement.nodes - 1}")
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
    """Read the variables of SageMaker's training toolkit. If they are missing, read SageMaker's resource file."""
    if "SM_HOSTS" in env:
        hosts, current, interface = json.loads(env["SM_HOSTS"]), env["SM_CURRENT_HOST"], env.get("SM_NETWORK_INTERFACE_NAME")
    else:
        try:
            config = json.loads(_SAGEMAKER_CONFIG.read_bytes())
        except FileNotFoundError:
            raise KeyError(f"{_SAGEMAKER_CONFIG} or SM_HOSTS") from None
        hosts, current, interface = config["hosts"], config["current_host"], config.get("network_interface_name")
    hosts = sorted(hosts)  # the order is the same on every node: the first is the main node
    rank, port = hosts.index(current), int(env.get("GPUYARD_PORT", _PORT))
    # Not the name: a starting host may not resolve it yet. SageMaker's own toolkit retries (sagemaker_training/entry_point.py).
    address = address_of(current) or own_address(env, None)
    return NodePlacement(rank, len(hosts), hosts[0] if rank else address, address, port, interface)


def _batch(env: Mapping[str, str]) -> NodePlacement:
    """Read the variables of a multi-node parallel job. A job of one node has none of them. Node 0 has no variable with its own address."""
    port = int(env.get("GPUYARD_PORT", _PORT))
    if "AWS_BATCH_JOB_NUM_NODES" not in env:
        return NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", port, None)
    nodes, main = int(env["AWS_BATCH_JOB_NUM_NODES"]), int(env["AWS_BATCH_JOB_MAIN_NODE_INDEX"])
    rank = (int(env["AWS_BATCH_JOB_NODE_INDEX"]) - main) % nodes
    main_address = env["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] if rank else None
    address = own_address(env, main_address)
    return NodePlacement(rank, nodes, main_address or address, address, port, interface_of(address))


def _vertex(env: Mapping[str, str]) -> NodePlacement:
    """Read CLUSTER_SPEC: workerpool0 has only node 0, workerpool1 has the other nodes in order.

    The names in it belong to Kubernetes services: other nodes reach a node by its name on some ports, but a node cannot bind its own name.
    So node 0 writes its address to an object in the run bucket (as github.com/Snapchat/GiGL does, 2026-12).
    """
    spec = json.loads(env["CLUSTER_SPEC"])
    pools, task = spec["cluster"], spec["task"]
    rank = sum(len(pools[pool]) for pool in pools if pool < task["type"]) + int(task["index"])
    port = int(env.get("GPUYARD_PORT") or next(iter(spec.get("open_ports") or [0])))
    address = env.get("GPUYARD_NODE_ADDRESS") or address_of(socket.gethostname(), loopback=False) or own_address(env, None)
    return NodePlacement(rank, sum(map(len, pools.values())), address, address, port, interface_of(address))


def _azureml(env: Mapping[str, str]) -> NodePlacement:
    """Read the variables of a PyTorch job with one process per node. In a job of one node they may be missing."""
    port = int(env.get("GPUYARD_PORT", _PORT))
    nodes = int(env.get("AZUREML_NODE_COUNT", env.get("WORLD_SIZE", "1")))
    if nodes == 1:
        return NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", port, None)
    rank, main = int(env["NODE_RANK"]), env["MASTER_ADDR"]
    address = env.get("GPUYARD_NODE_ADDRESS") or own_address(env, main)
    return NodePlacement(rank, nodes, main if rank else address, address, port, interface_of(address))


def _slurm(env: Mapping[str, str]) -> NodePlacement:
    """Read the variables of a step with one task per node. srun runs on node 0, so its address is node 0's."""
    rank, nodes = int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"])
    port = int(env.get("GPUYARD_PORT", _PORT))
    if nodes == 1:
        return NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", port, None)
    main = env["SLURM_LAUNCH_NODE_IPADDR"]
    address = main if rank == 0 else own_address(env, main)
    return NodePlacement(rank, nodes, main, address, port, interface_of(address))


# SageMaker announces a spot interruption to the container by SIGTERM; containers cannot reach the metadata service.
SERVICES: dict[str, PlacementSource] = {
    "local": PlacementSource(_local, cloud="off"),
    "batch": PlacementSource(_batch, cloud="aws"),
    # /tmp is the scratch space of the ML volume: docs.aws.amazon.com/sagemaker/latest/dg/model-train-storage-env-var-summary.html. The root
    # disk has about 100 GB whatever the volume's size: github.com/awslabs/graphstorm/issues/354. Both read on 2026-12-01.
    "sagemaker": PlacementSource(_sagemaker, cloud="off", scratch="/tmp"),  # noqa: S108 one job per container
    "vertex": PlacementSource(_vertex, cloud="gcp", start="CLOUD_ML_JOB_ID"),
    "azureml": PlacementSource(_azureml, cloud="azure"),
    "slurm": PlacementSource(_slurm, cloud="off"),
}
