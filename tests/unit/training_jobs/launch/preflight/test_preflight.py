"""The preflight's decisions: parsing nvidia-smi and NCCL's log, the verdict on the nodes' reports, clock offsets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpuyard.components.catalogue.machines import Machine, clouds, table
from gpuyard.training_jobs.launch.control_channel import clock_offset
from gpuyard.training_jobs.launch.preflight import __main__ as preflight
from gpuyard.training_jobs.launch.preflight.__main__ import nccl_report
from gpuyard.training_jobs.launch.preflight.nvidia import list_gpus, parse_nccl, parse_smi
from gpuyard.training_jobs.launch.preflight.time_limit import limit_s
from gpuyard.training_jobs.launch.preflight.verdict import Verdict, bus_gbs, evaluate
from gpuyard.training_jobs.launch.run_record import FabricFloor
from tests.helpers.ports import free_port

# Formats of NCCL 2.12 to 2.28 and aws-ofi-nccl 1.5 to 1.17 as in public reports; hosts and addresses are invented.
EFA = """
h1:14:14 [0] NCCL INFO Bootstrap : Using eth0:10.0.0.5<0>
h1:14:14 [0] NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.16.3
h1:14:14 [0] NCCL INFO NET/OFI Selected provider is efa, fabric is efa-direct (found 16 nics)
h1:14:14 [0] NCCL INFO Initialized NET plugin Libfabric
h1:14:14 [0] NCCL INFO Using network Libfabric
h1:14:30 [0] NCCL INFO Channel 00/0 : 3[3] -> 14[6] [send] via NET/Libfabric/3/GDRDMA
"""
OLD_EFA = """
h1:21:21 [0] NCCL INFO NET/OFI Selected Provider is efa (found 4 nics)
h1:21:21 [0] NCCL INFO Using network AWS Libfabric
h1:21:40 [0] NCCL INFO Channel 00 : 7[b0] -> 8[c0] [send] via NET/AWS Libfabric/1/GDRDMA
"""
OFI_OVER_TCP = """
h1:24:24 [0] NCCL INFO NET/OFI Selected Provider is tcp;ofi_rxm (found 2 nics)
h1:24:24 [0] NCCL INFO Using network AWS Libfabric
"""
INFINIBAND = """
h4:46:84 [0] NCCL INFO NET/Plugin : No plugin found (libnccl-net.so), using internal implementation
h4:46:84 [0] NCCL INFO NET/IB : Using [0]mlx5_3:1/IB [1]mlx5_2:1/IB [2]mlx5_1:1/IB [3]mlx5_0:1/IB [RO]; OOB ib0:10.0.0.1<0>
h4:46:84 [0] NCCL INFO Using network IB
h4:46:84 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0/GDRDMA
"""
MERGED = """
h4:18:22 [0] NCCL INFO P2P plugin IBext_v8
h4:18:22 [0] NCCL INFO NET/IB : Using [0]={[0] mlx5_2:1/RoCE, [1] mlx5_3:1/RoCE} [1]={[2] mlx5_0:1/RoCE, [3] mlx5_1:1/RoCE} [RO]; OOB b0.5:10.0.0.9<0>
h4:18:22 [0] NCCL INFO Using network IBext_v8
h4:18:22 [0] NCCL INFO Channel 00/0 : 1[0] -> 2[0] [receive] via NET/IBext_v8/1
"""  # noqa: E501 one line of NCCL
SOCKET = """
h2:77:77 [0] NCCL INFO NET/IB : No device found.
h2:77:77 [0] NCCL INFO NET/IB : Using [RO]; OOB eth0:10.0.0.2<0>
h2:77:77 [0] NCCL INFO Failed to initialize NET plugin IB
h2:77:77 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.2<0> [1]eth1:10.0.1.2<0>
h2:77:77 [0] NCCL INFO Using network Socket
h2:77:80 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via NET/Socket/0
"""
FELL_BACK = "h1:14:14 [0] NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 4 nics)\n" + SOCKET


@pytest.mark.parametrize(
    ("log", "transport", "nics", "gdrdma"),
    [
        (EFA, "NET/OFI", 16, True),
        (OLD_EFA, "NET/OFI", 4, True),
        (OFI_OVER_TCP, "NET/OFI over tcp;ofi_rxm", 2, False),
        (INFINIBAND, "NET/IB", 4, True),
        (MERGED, "NET/IB", 4, False),
        (SOCKET, "NET/Socket", 2, False),
        (FELL_BACK, "NET/Socket", 2, False),
        (SOCKET.replace("Using network Socket", "Using network IB"), "NET/Socket", 2, False),  # announced, but not built
        ("h1:1:1 [0] NCCL INFO Using network gIB\n", "NET/gIB", None, False),
        ("", None, None, False),
    ],
)
def test_nccl_log_transports(log: str, transport: str | None, nics: int | None, gdrdma: bool) -> None:
    assert parse_nccl(log) == {"transport": transport, "nics": nics, "gdrdma": gdrdma}


def test_nvidia_smi_rows_with_unsupported_values() -> None:
    text = (
        "0, NVIDIA H100 80GB HBM3, 81559, 570.124.06, 34, 0, 0, 0, 0x0000000000000000\n"
        "1, NVIDIA H100 80GB HBM3, 81559, 570.124.06, 91, 2, 1, 0, 0x0000000000000048\n"
        "2, NVIDIA L4, 23034, 570.124.06, 40, [N/A], [N/A], [Not Supported], 0x0000000000000001\n"
        "3, NVIDIA A100-SXM4-40GB, 40960, 535.1, [Unknown Error], 0, No, Yes, [N/A]\n\n"
        "No devices were found\n"
    )
    one, two, three, four = parse_smi(text)
    assert one == {
        "index": 0, "name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559, "driver": "570.124.06", "celsius": 34, "ecc_uncorrected": 0,
        "remap_pending": 0, "remap_failed": 0, "throttled": [],
    }  # fmt: skip
    assert (two["ecc_uncorrected"], two["remap_pending"], two["throttled"]) == (2, 1, ["hardware slowdown", "hardware thermal"])
    assert (three["ecc_uncorrected"], three["remap_failed"], three["throttled"]) == (None, None, [])  # idle is no problem
    assert (four["celsius"], four["remap_pending"], four["remap_failed"], four["throttled"]) == (None, 0, 1, None)


def _fake_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_an_old_driver_gets_a_shorter_query_and_no_driver_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = 'if "remapped" in sys.argv[1]: sys.exit(2)\nprint("0, NVIDIA L4, 23034, 535.1, 40")'
    _fake_smi(tmp_path, monkeypatch, refuses)
    assert list_gpus() == [{"index": 0, "name": "NVIDIA L4", "memory_mib": 23034, "driver": "535.1", "celsius": 40}]
    _fake_smi(tmp_path, monkeypatch, "sys.exit(9)")
    assert list_gpus() == []
    (tmp_path / "nvidia-smi").unlink()
    assert list_gpus() == []


FABRIC: FabricFloor = {"transport": "NET/OFI", "line_rate_gbps": 3200.0, "floor": 0.4}
H100 = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(("busbw", "warnings"), [(300.0, 0), (100.0, 1)])
def test_a_network_without_a_known_floor_is_never_refused(busbw: float, warnings: int) -> None:
    found = evaluate([_report(**_net(busbw)), _report(1, **_net(busbw))], {**FABRIC, "floor": None})
    assert (found.code, found.failures, len(found.warnings)) == (0, [], warnings)
    assert all(
        "no floor is known for this machine, so the job starts; set fabric_floor to refuse such a job" in text for text in found.warnings
    )


def _report(node: int = 0, **changes: Any) -> dict[str, Any]:
    network = {"backend": "nccl", "transport": "NET/OFI", "nics": 32, "busbw_gbs": 300.0}
    gpus = [{"index": 0, "name": H100, "celsius": 40, "ecc_uncorrected": 0, "remap_pending": 0, "remap_failed": 0, "throttled": []}]
    speed = {"measured": [{"index": 0, "name": H100, "gemm_tflops": 720.0, "copy_gbs": 2900.0}]}
    clock = {"ahead_s": 0.01, "within_s": 0.002}
    return {"node": node, "gpus": gpus, "gpu": speed, "all_reduce": network, "storage": {"write_mbs": 1.0}, "clock": clock, **changes}


def _net(busbw_gbs: float, transport: str = "NET/OFI") -> dict[str, Any]:
    return {"all_reduce": {"backend": "nccl", "transport": transport, "busbw_gbs": busbw_gbs}}


def _gpu(**changes: Any) -> dict[str, Any]:
    return {"gpus": [{"index": 0, "name": H100, **changes}]}


def _speed(gemm: float, copy: float, name: str = H100) -> dict[str, Any]:
    return {"gpu": {"measured": [{"index": 0, "name": name, "gemm_tflops": gemm, "copy_gbs": copy}]}}


@pytest.mark.parametrize(
    ("changes", "word", "code", "message"),
    [
        ({}, "ok", 0, ""),
        (_net(167.0), "warned", 0, "all-reduce between nodes 167.0 GB/s: 42% of 3200 Gb/s, near the floor of 40%"),
        (_net(169.0), "ok", 0, ""),
        (_net(159.0), "failed", 69, "159.0 GB/s: 40% of 3200 Gb/s, the floor is 40%"),
        (_net(300.0, "NET/Socket"), "failed", 69, "the nodes communicate over NET/Socket, not over NET/OFI"),
        ({"all_reduce": {"backend": "gloo", "busbw_gbs": 300.0}}, "failed", 69, "over gloo"),
        ({"all_reduce": {"backend": "nccl", "transport": None, "busbw_gbs": 300.0}}, "warned", 0, "does not name its transport"),
        ({"all_reduce": {"error": "Connection closed by peer"}}, "failed", 69, "node 1: all_reduce: Connection closed"),
        ({"gpu": {"error": "a GPU's process exited with code 1: NCCL error"}}, "failed", 69, "node 1: gpu: a GPU's process exited"),
        ({"storage": {"error": "No space left on device"}}, "failed", 74, "node 1: storage: No space left"),
        ({"gpus": []}, "failed", 69, "not have the same number of GPUs: node 0: 1, node 1: 0"),
        (_gpu(ecc_uncorrected=3), "failed", 69, "node 1 GPU 0: uncorrected memory errors (3)"),
        (_gpu(remap_pending=1), "failed", 69, "reset the GPU"),
        (_gpu(remap_failed=1), "failed", 69, "cannot be remapped"),
        (_gpu(throttled=["hardware thermal"]), "warned", 0, "node 1 GPU 0: throttled: hardware thermal"),
        (_gpu(celsius=91), "warned", 0, "node 1 GPU 0: 91 C"),
        (_gpu(celsius=None, throttled=None), "ok", 0, ""),
        (_speed(680.0, 2900.0), "warned", 0, "680 TFLOP/s, below 70% of the data sheet's 989"),
        (_speed(300.0, 2900.0), "failed", 69, "300 TFLOP/s, below 40% of the data sheet's 989"),
        (_speed(720.0, 2000.0), "warned", 0, "2000 GB/s, below 80% of the data sheet's 3350"),
        (_speed(500.0, 2800.0, "NVIDIA X1"), "warned", 0, "500 TFLOP/s, the median is 610: this GPU slows down the other ranks"),
        (_speed(530.0, 2900.0, "NVIDIA H100 PCIe"), "warned", 0, "530 TFLOP/s, the median is 625"),  # compared with its own data sheet
        ({"clock": {"ahead_s": -4.2, "within_s": 0.1}}, "warned", 0, "node 1: its clock differs from node 0's by -4.2 s"),
        ({"clock": {"ahead_s": 1.5, "within_s": 0.8}}, "ok", 0, ""),  # the true offset may be below a second
        ({"clock": None}, "ok", 0, ""),
    ],
)
def test_the_verdict_on_two_nodes(changes: dict[str, Any], word: str, code: int, message: str) -> None:
    verdict = evaluate([_report(), _report(1, **changes)], FABRIC)
    assert (verdict.status, verdict.code) == (word, code), verdict
    assert message in "\n".join(verdict.failures + verdict.warnings)
    assert len(verdict.failures + verdict.warnings) == (word != "ok")


def test_the_floor_applies_only_to_a_measured_network() -> None:
    slow = {"backend": "gloo", "busbw_gbs": 0.01}
    assert evaluate([_report(all_reduce=slow), _report(1, all_reduce=slow)], None) == Verdict()
    bare: list[dict[str, Any]] = [{"node": node, "gpus": [], "clock": None, "storage": {}} for node in (0, 1)]
    assert evaluate(bare, FABRIC).warnings == ["the network was not measured, so its floor was not checked"]
    assert evaluate(bare[:1], FABRIC).status == "ok"  # one node has no network to check


PUBLISHED = [row for cloud in clouds() for row in table(cloud).machines.values() if row.all_reduce and row.fabric_line_gbps]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: str(row.name))
def test_a_machine_as_fast_as_published_gets_no_warning(row: Machine) -> None:
    assert row.all_reduce
    assert row.fabric_line_gbps
    measured, in_stock_files = _net(row.all_reduce.gbs), 0.7  # the stock stack files state 0.7 of the line rate
    for floor in {row.default_floor, in_stock_files}:
        if floor is not None and row.all_reduce.gbs * 8 > floor * row.fabric_line_gbps:
            fabric: FabricFloor = {"transport": "NET/OFI", "line_rate_gbps": row.fabric_line_gbps, "floor": floor}
            assert evaluate([_report(**measured), _report(1, **measured)], fabric).status == "ok", (row.name, floor)


def test_the_first_failure_gives_the_code() -> None:
    verdict = evaluate([_report(storage={"error": "full"}), _report(1, all_reduce={"error": "gone"})], FABRIC)
    assert (verdict.code, len(verdict.failures)) == (74, 2)


def test_bus_bandwidth_is_that_of_nccl_tests() -> None:
    assert bus_gbs(10**9, 2, 1.0) == pytest.approx(1.0)
    assert bus_gbs(10**9, 16, 0.5) == pytest.approx(3.75)


def test_the_clock_offset_and_its_error() -> None:
    assert clock_offset(100.0, 100.5, 101.0) == (0.0, 0.5)
    ahead, within = clock_offset(105.0, 100.1, 105.2)
    assert (ahead, within) == pytest.approx((5.0, 0.1))


def test_gpu_results_become_a_report() -> None:
    ranks = [
        {"index": 0, "name": H100, "gemm_tflops": 700.0, "copy_gbs": 2900.0, "inside_gbs": 460.0, "across_gbs": 310.0},
        {"index": 1, "name": H100, "gemm_tflops": 710.0, "copy_gbs": 2910.0, "inside_gbs": 455.0, "across_gbs": 312.0},
    ]
    report = nccl_report(ranks, EFA, nodes=2)
    assert report["all_reduce"] == {"backend": "nccl", "busbw_gbs": 310.0, "nodes": 2, "transport": "NET/OFI", "nics": 16, "gdrdma": True}
    assert report["all_reduce_inside"] == {"backend": "nccl", "busbw_gbs": 455.0, "nodes": 1}
    assert nccl_report([{"index": 0, "name": H100}], "", nodes=1) == {"gpu": {"measured": [{"index": 0, "name": H100}]}}


def test_a_failed_gpu_process_is_reported_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    plan: Any = {"rank": 0, "nodes": 1, "main_address": "127.0.0.1"}
    found = preflight._nccl(plan, 1)
    assert found["gpu"]["error"].startswith("a GPU's process exited with code 1: ")
    monkeypatch.setattr(preflight, "limit_s", lambda nodes, gpus: 0.0)
    found = preflight._nccl(plan, 1)
    assert "timed out after" in found["gpu"]["error"]
    verdict = evaluate([{"node": 0, **found}], None)
    assert verdict.code == 74  # a slow machine is no proof of a slow network


def test_the_time_limit_grows_with_gpus_and_nodes() -> None:
    """Nine processes of a node import torch from a cold disk, and NCCL connects 32 cards of each node."""
    assert [limit_s(1, 0), limit_s(2, 8), limit_s(64, 8)] == [61, 102, 164]


def test_a_gpu_is_compared_with_its_own_data_sheet() -> None:
    measured = [{"index": 0, "name": "NVIDIA H200 NVL", "gemm_tflops": 668.0, "copy_gbs": 4000.0}]
    assert evaluate([{"node": 0, "gpu": {"measured": measured}}], None).warnings == []  # 80 % of 835, not 68 % of 989


@pytest.mark.parametrize(
    ("hangs", "nodes", "code", "message"),
    [
        ("preflight.objects.write = hang", 1, 74, "storage"),
        ("pass", 2, 74, "waiting for the other nodes"),
        ("preflight._join_nodes = lambda *_: (None, lambda own: [own]); preflight._network = hang", 2, 74, "the network"),
    ],
)
def test_the_preflight_ends_in_time_whatever_hangs(tmp_path: Path, hangs: str, nodes: int, code: int, message: str) -> None:
    plan = {
        "rank": 0, "nodes": nodes, "main_address": "127.0.0.1", "port": free_port("127.0.0.1"), "listen_fd": None,
        "attempt_url": tmp_path.as_uri(), "fabric": None, "clock": None,
    }  # fmt: skip
    program = f"""
import sys, time
from gpuyard.training_jobs.launch.preflight import __main__ as preflight
def hang(*_): time.sleep(60)
preflight.limit_s = lambda nodes, gpus: 1.5
{hangs}
sys.exit(preflight.main(sys.argv[1:]))
"""
    done = subprocess.run([sys.executable, "-c", program, json.dumps(plan)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (code, f"gpuyard: preflight failed: timed out after 2 s in: {message}\n")
