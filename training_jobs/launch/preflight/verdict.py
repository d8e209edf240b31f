"""Computes the preflight's verdict from the reports of all nodes. A pure function, so that every node gets the same verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..hook import DONE, FABRIC
from ..node_exit import IO_ERROR
from ..run_record import FabricFloor

__all__ = ["Report", "Verdict", "bus_gbs", "evaluate"]

Report = dict[str, Any]  # JSON: one node's measurements by check
_NEAR_FLOOR = 1.05
"""Below this multiple of the floor the job gets a warning. A healthy p5.48xlarge with `fabric_floor: 0.7` must stay above it: AWS publishes
an all-reduce of 300 GB/s, which is 1.07 of that floor."""
_USUAL = 0.7
"""Fraction of the line rate below which a job gets a warning if no floor is known."""
_SLOW_GEMM, _SLOW_COPY, _BROKEN = 0.70, 0.80, 0.40
"""Fractions of a GPU's data sheet: warning below 0.70 of the bf16 peak or 0.80 of the memory bandwidth, failure below 0.40."""
_STRAGGLER = 0.90
_SKEW_S = 1.0
_HOT_C = 88
_PEAKS = {
    "GB200": (2500.0, 8000.0), "B200": (2250.0, 7700.0), "GH200": (989.0, 4000.0), "H200 NVL": (835.0, 4800.0), "H200": (989.0, 4800.0),
    "H100 PCIe": (756.0, 2000.0), "H100 NVL": (835.0, 3900.0), "H100": (989.0, 3350.0), "A100": (312.0, 1555.0),
    "L40S": (362.0, 864.0), "L40": (181.0, 864.0), "L4": (121.0, 300.0), "A10G": (70.0, 600.0), "A10": (125.0, 600.0),
}  # fmt: skip
"""Dense bf16 TFLOP/s and GB/s of the smallest variant of each name, from third-party copies of NVIDIA's data sheets.

They were not checked on a GPU. A GPU without a row is only compared with the median of the job's GPUs. V100 and T4 have no row, because
they emulate bf16.
"""


@dataclass
class Verdict:
    """Failures, warnings and the exit code of the job."""

    code: int = DONE
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The verdict in preflight.json: failed, warned or ok."""
        return "failed" if self.failures else "warned" if self.warnings else "ok"

    def fail(self, code: int, text: str) -> None:
        """Add a failure. The job gets the exit code of the first failure."""
        self.code = self.code or code
        self.failures.append(text)


def bus_gbs(size: int, ranks: int, seconds: float) -> float:
    """Return the bus bandwidth of an all-reduce in GB/s, as in nccl-tests. It can be compared between different numbers of ranks."""
    return size * 2 * (ranks - 1) / ranks / seconds / 1e9


def evaluate(reports: list[Report], fabric: FabricFloor | None) -> Verdict:
    """Evaluate the reports of all nodes. `fabric`: required transport and speed of the network; None = no requirement."""
    verdict = Verdict()
    for report in reports:
        for check, code in (("all_reduce", FABRIC), ("gpu", FABRIC), ("storage", IO_ERROR)):
            found = report.get(check) or {}
            if error := found.get("error"):
                verdict.fail(IO_ERROR if found.get("timed_out") else code, f"node {report['node']}: {check}: {error}")
    measured = [found for report in reports if "busbw_gbs" in (found := report.get("all_reduce") or {})]
    if fabric and measured:
        _network(measured, fabric, verdict)
    elif fabric and len(reports) > 1 and not verdict.failures:
        verdict.warnings.append("the network was not measured, so its floor was not checked")
    _devices(reports, verdict)
    _speeds(reports, verdict)
    for report in reports:
        clock = report.get("clock")
        if clock and abs(clock["ahead_s"]) - clock["within_s"] > _SKEW_S:
            verdict.warnings.append(f"node {report['node']}: its clock differs from node 0's by {clock['ahead_s']:+.1f} s")
    return verdict


def _network(measured: list[Report], fabric: FabricFloor, verdict: Verdict) -> None:
    transports = {found.get("transport", found["backend"]) for found in measured}
    others = sorted(str(transport) for transport in transports - {fabric["transport"], None})
    if others:
        text = f"the nodes communicate over {', '.join(others)}, not over {fabric['transport']}"
        verdict.fail(FABRIC, f"{text}; use an image with NCCL's plugin for {fabric['transport']}, and check the node's network cards")
    elif None in transports:
        verdict.warnings.append(f"NCCL's log does not name its transport, so it was not compared with {fabric['transport']}")
    slowest = min(float(found["busbw_gbs"]) for found in measured)
    share = slowest * 8 / fabric["line_rate_gbps"]
    text = f"all-reduce between nodes {slowest:.1f} GB/s: {share:.0%} of {fabric['line_rate_gbps']:.0f} Gb/s"
    floor = fabric["floor"]
    if floor is None:
        if share < _USUAL:
            verdict.warnings.append(f"{text}; no floor is known for this machine, so the job starts; set fabric_floor to refuse such a job")
    elif share < floor:
        verdict.fail(FABRIC, f"{text}, the floor is {floor:.0%}")
    elif share < floor * _NEAR_FLOOR:
        verdict.warnings.append(f"{text}, near the floor of {floor:.0%}")


def _devices(reports: list[Report], verdict: Verdict) -> None:
    counts = {len(report.get("gpus") or []) for report in reports}
    if len(counts) > 1:
        counted = ", ".join(f"node {report['node']}: {len(report.get('gpus') or [])}" for report in reports)
        verdict.fail(FABRIC, f"the nodes do not have the same number of GPUs: {counted}")
    for report in reports:
        for gpu in report.get("gpus") or []:
            where = f"node {report['node']} GPU {gpu['index']}"
            for key, text in (
                ("ecc_uncorrected", "uncorrected memory errors"),
                ("remap_pending", "memory rows waiting to be remapped, reset the GPU"),
                ("remap_failed", "memory rows that cannot be remapped"),
            ):
                if gpu.get(key):
                    verdict.fail(FABRIC, f"{where}: {text} ({gpu[key]})")
            if gpu.get("throttled"):
                verdict.warnings.append(f"{where}: throttled: {', '.join(gpu['throttled'])}")
            if (gpu.get("celsius") or 0) >= _HOT_C:
                verdict.warnings.append(f"{where}: {gpu['celsius']} C")


def _speeds(reports: list[Report], verdict: Verdict) -> None:
    """Compare each GPU with its data sheet, then with the median of the job's GPUs."""
    gpus = [(report["node"], gpu) for report in reports for gpu in (report.get("gpu") or {}).get("measured", [])]
    for index, (key, unit, enough) in enumerate((("gemm_tflops", "TFLOP/s", _SLOW_GEMM), ("copy_gbs", "GB/s", _SLOW_COPY))):
        middle = median([gpu[key] for _, gpu in gpus]) if gpus else 0.0
        for node, gpu in gpus:
            text = f"node {node} GPU {gpu['index']}: {gpu[key]:.0f} {unit}"
            peak = next((peaks[index] for name, peaks in _PEAKS.items() if _same_model(name, gpu["name"])), None)
            if peak and gpu[key] < _BROKEN * peak:
                verdict.fail(FABRIC, f"{text}, below {_BROKEN:.0%} of the data sheet's {peak:.0f}")
            elif peak and gpu[key] < enough * peak:
                verdict.warnings.append(f"{text}, below {enough:.0%} of the data sheet's {peak:.0f}")
            elif gpu[key] < _STRAGGLER * middle:
                verdict.warnings.append(f"{text}, the median is {middle:.0f}: this GPU slows down the other ranks")


def _same_model(name: str, device: str) -> bool:
    return set(name.split()) <= set(device.replace("-", " ").split())
