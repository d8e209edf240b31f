"""From what every node measured to one verdict: pure, so that all nodes come to the same one."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..hook import DONE, FABRIC
from ..node_exit import IO_ERROR

Report = dict[str, Any]
_ROOM = 1.5
"""Below the floor times this a network is said to be slow: 0.6 of the line rate beside a floor of 0.4."""
_GEMM, _COPY, _BROKEN = 0.70, 0.80, 0.40
"""Fractions of a device's dense bf16 peak and memory bandwidth: below the first it is said, below the last the job is refused."""
_STRAGGLER = 0.90
_SKEW_S = 1.0
_HOT_C = 88
_PEAKS = {
    "B200": (2250.0, 8000.0), "H200": (989.0, 4800.0), "H100 PCIe": (756.0, 2000.0),
    "H100": (989.0, 3350.0), "A100": (312.0, 1555.0), "L40S": (362.0, 864.0), "L4": (121.0, 300.0), "A10G": (70.0, 600.0),
}  # fmt: skip
"""Dense bf16 TFLOP/s and GB/s of the smallest variant of each name, as NVIDIA's product pages give them; not checked on any GPU here.
A device that is not in the table is held to the median of the job's GPUs alone."""


@dataclass
class Verdict:
    """`word` is ok, warned or failed; `code` what launch ends with."""

    code: int = DONE
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        """What preflight.json says."""
        return "failed" if self.failures else "warned" if self.warnings else "ok"

    def fail(self, code: int, text: str) -> None:
        """The first failure's code is the job's."""
        self.code = self.code or code
        self.failures.append(text)


def bus_gbs(size: int, ranks: int, seconds: float) -> float:
    """Bus bandwidth of one all-reduce in GB/s, as nccl-tests count it: what each link carried, whatever the number of ranks."""
    return size * 2 * (ranks - 1) / ranks / seconds / 1e9


def judge(reports: list[Report], fabric: dict[str, Any] | None) -> Verdict:
    """The verdict on all nodes' reports. `fabric`: what the pool's network is held to, None = nothing."""
    verdict = Verdict()
    for report in reports:
        for check, code in (("all_reduce", FABRIC), ("gpu", FABRIC), ("storage", IO_ERROR)):
            error = (report.get(check) or {}).get("error")
            if error:
                verdict.fail(code, f"node {report['node']}: {check}: {error}")
    measured = [found for report in reports if "busbw_gbs" in (found := report.get("all_reduce") or {})]
    if fabric and measured:
        _network(measured, fabric, verdict)
    elif fabric and len(reports) > 1 and not verdict.failures:
        verdict.warnings.append("the network was not measured: its floor is not checked")
    _devices(reports, verdict)
    _speeds(reports, verdict)
    for report in reports:
        clock = report.get("clock")
        if clock and abs(clock["ahead_s"]) - clock["within_s"] > _SKEW_S:
            verdict.warnings.append(f"node {report['node']}: its clock is {clock['ahead_s']:+.1f} s off node 0's")
    return verdict


def _network(measured: list[Report], fabric: dict[str, Any], verdict: Verdict) -> None:
    transports = {found.get("transport", found["backend"]) for found in measured}
    others = sorted(str(transport) for transport in transports - {fabric["transport"], None})
    if others:
        text = f"the nodes talk over {', '.join(others)}, not over {fabric['transport']}"
        verdict.fail(FABRIC, f"{text}: its plugin or device is missing in the image")
    elif None in transports:
        verdict.warnings.append(f"NCCL's log does not tell its transport: it is not held to {fabric['transport']}")
    slowest = min(float(found["busbw_gbs"]) for found in measured)
    share = slowest * 8 / fabric["line_rate_gbps"]
    text = f"all-reduce between nodes {slowest:.1f} GB/s: {share:.0%} of {fabric['line_rate_gbps']:.0f} Gb/s"
    if share < fabric["floor"]:
        verdict.fail(FABRIC, f"{text}, the floor is {fabric['floor']:.0%}")
    elif share < fabric["floor"] * _ROOM:
        verdict.warnings.append(f"{text}, near the floor of {fabric['floor']:.0%}")


def _devices(reports: list[Report], verdict: Verdict) -> None:
    counts = {len(report.get("gpus") or []) for report in reports}
    if len(counts) > 1:
        said = ", ".join(f"node {report['node']}: {len(report.get('gpus') or [])}" for report in reports)
        verdict.fail(FABRIC, f"the nodes do not have the same number of GPUs: {said}")
    for report in reports:
        for gpu in report.get("gpus") or []:
            where = f"node {report['node']} GPU {gpu['index']}"
            for key, text in (
                ("ecc_uncorrected", "uncorrected memory errors"),
                ("remap_pending", "memory rows to be remapped: needs a reset"),
                ("remap_failed", "memory rows that could not be remapped"),
            ):
                if gpu.get(key):
                    verdict.fail(FABRIC, f"{where}: {text} ({gpu[key]})")
            if gpu.get("throttled"):
                verdict.warnings.append(f"{where}: throttled: {', '.join(gpu['throttled'])}")
            if (gpu.get("celsius") or 0) >= _HOT_C:
                verdict.warnings.append(f"{where}: {gpu['celsius']} C")


def _speeds(reports: list[Report], verdict: Verdict) -> None:
    """Each GPU beside its data sheet, then beside the median of the job's GPUs."""
    gpus = [(report["node"], gpu) for report in reports for gpu in (report.get("gpu") or {}).get("measured", [])]
    for index, (key, unit, enough) in enumerate((("gemm_tflops", "TFLOP/s", _GEMM), ("copy_gbs", "GB/s", _COPY))):
        middle = median([gpu[key] for _, gpu in gpus]) if gpus else 0.0
        for node, gpu in gpus:
            text = f"node {node} GPU {gpu['index']}: {gpu[key]:.0f} {unit}"
            peak = next((peaks[index] for name, peaks in _PEAKS.items() if _is(name, gpu["name"])), None)
            if peak and gpu[key] < _BROKEN * peak:
                verdict.fail(FABRIC, f"{text}, below {_BROKEN:.0%} of the data sheet's {peak:.0f}")
            elif peak and gpu[key] < enough * peak:
                verdict.warnings.append(f"{text}, below {enough:.0%} of the data sheet's {peak:.0f}")
            elif gpu[key] < _STRAGGLER * middle:
                verdict.warnings.append(f"{text}, the median is {middle:.0f}: it will hold up the others")


def _is(name: str, device: str) -> bool:
    return set(name.split()) <= set(device.replace("-", " ").split())
