"""docs/local-pool.md from the components' side: training_jobs reads what GpuPool and JobService write."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from gpuyard.components.local.disk import PoolProvider
from gpuyard.components.local.files import as_content
from gpuyard.components.local.gpu_pool import plan_pool
from gpuyard.components.local.leases import live_leases, process_start
from gpuyard.components.local.network import plan_addresses
from gpuyard.components.spec import GpuPoolSpec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "local-pool.md").read_text()
POOL, LEASE = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
SPEC = GpuPoolSpec(max_nodes=2, service="local")


@pytest.mark.parametrize(
    ("gpus", "accelerator", "nodes"),
    [
        ([], None, [([], 2), ([], 2)]),
        (["H200"], None, [([], 2), ([], 2)]),
        (["H200"] * 5, "H200", [([0, 1], 2), ([2, 3], 2)]),
    ],
)
def test_pool_json(tmp_path: Path, gpus: list[str], accelerator: str | None, nodes: list[tuple[list[int], int]]) -> None:
    pool = plan_pool("local", SPEC, gpus, plan_addresses("127.77.0.0/24", 2))
    PoolProvider().create({"path": str(tmp_path / "p"), "content": as_content(pool)})
    assert json.loads((tmp_path / "p" / "pool.json").read_text()) == {
        "version": 1,
        "pool": "local",
        "machine": "auto",
        "accelerator": accelerator,
        "nodes": [
            {"index": index, "address": f"127.77.0.{10 + index}", "slots": slots, "gpus": indices}
            for index, (indices, slots) in enumerate(nodes)
        ],
    }
    assert sorted(entry.name for entry in (tmp_path / "p").iterdir()) == ["leases", "lock", "pool.json"]


def test_the_page_shows_the_written_document() -> None:
    assert plan_pool("local", SPEC, [], plan_addresses("127.77.0.0/24", 2)) == POOL


def test_a_lease_with_the_backends_own_keys_is_accepted(tmp_path: Path) -> None:
    """Keys beside those of the contract are ignored."""
    (tmp_path / "leases").mkdir()
    mine = LEASE | {"pid": os.getpid(), "started": process_start(os.getpid())}
    (tmp_path / "leases" / "gpt-3f9a1c0b77d2.json").write_text(json.dumps({**mine, "job": "gpt-3f9a1c0b77d2-0"}))
    [lease] = live_leases(tmp_path)
    assert (lease.run_id, lease.pid, lease.nodes) == ("gpt-3f9a1c0b77d2", os.getpid(), (0, 1))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the Linux form of a process's start")
def test_the_start_time_of_a_process() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert process_start(os.getpid()) == f"{boot}/{Path('/proc/self/stat').read_text().rpartition(')')[2].split()[19]}"
