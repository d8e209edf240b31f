"""A node's rank and address from its environment, on a local pool; wrong environments are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import NodePlacement, read_placement

LOCAL = {
    "GPUYARD_SERVICE": "local", "GPUYARD_NODE_RANK": "1", "GPUYARD_NUM_NODES": "2", "GPUYARD_MAIN_ADDRESS": "127.77.0.10",
    "GPUYARD_NODE_ADDRESS": "127.77.0.11", "GPUYARD_PORT": "4000",
}  # fmt: skip


def test_launch_imports_nothing_but_the_standard_library() -> None:
    program = "import sys; import gpuyard.training_jobs.launch.__main__, gpuyard.training_jobs.launch.hook; print(*sys.modules)"
    bare = [
        sys.executable,
        "-S",
        "-c",
        program,
    ]  # without modules that the installation loads at every start, for instance through a .pth file
    root = str(Path(__file__).parents[4])
    loaded = subprocess.run(bare, capture_output=True, text=True, check=True, env={"PYTHONPATH": root}).stdout.split()
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"gpuyard", "__main__"}
    assert not {name for name in foreign if not name.startswith("_")}, foreign


def test_a_local_node_reads_its_placement() -> None:
    interface = "lo0" if sys.platform == "darwin" else "lo"
    assert read_placement(LOCAL) == NodePlacement(1, 2, "127.77.0.10", "127.77.0.11", 4000, interface)


def test_a_slurm_node_meets_the_others_at_the_address_of_srun() -> None:
    """Srun runs on node 0. A job of one node needs no address."""
    step = {"GPUYARD_SERVICE": "slurm", "SLURM_NTASKS": "2", "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1", "GPUYARD_PORT": "4000"}
    assert read_placement({**step, "SLURM_PROCID": "0"}) == NodePlacement(0, 2, "127.0.0.1", "127.0.0.1", 4000, "lo")
    other = read_placement({**step, "SLURM_PROCID": "1"})
    assert (other.rank, other.main_address) == (1, "127.0.0.1")
    assert read_placement({**step, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}).interface is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"GPUYARD_SERVICE": "kubernetes"}, "got 'kubernetes', allowed: .*batch, local"),
        ({"GPUYARD_PORT": "http"}, "is malformed"),
        ({"GPUYARD_NODE_RANK": "2"}, "node rank: out of range, got 2, allowed: 0 to 1"),
    ],
)
def test_a_wrong_environment_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(NodeExitError, match=message) as refused:
        read_placement({**LOCAL, **change})
    assert refused.value.code == 64


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(NodeExitError, match="did not set GPUYARD_PORT"):
        read_placement({name: value for name, value in LOCAL.items() if name != "GPUYARD_PORT"})
