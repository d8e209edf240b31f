"""Reads NVIDIA's tools: the GPUs' health from nvidia-smi, the transport from NCCL's log."""

from __future__ import annotations

import re
import subprocess
from typing import TypedDict

__all__ = ["GpuRow", "GpuValue", "NcclNetwork", "list_gpus", "parse_nccl", "parse_smi"]

GpuValue = int | str | list[str] | None
GpuRow = dict[str, GpuValue]


class NcclNetwork(TypedDict):
    """The network that NCCL uses between nodes, read from its log. None = not in the log."""

    transport: str | None
    nics: int | None
    gdrdma: bool


_FIELDS = (
    "index", "name", "memory.total", "driver_version", "temperature.gpu", "ecc.errors.uncorrected.volatile.total",
    "remapped_rows.pending", "remapped_rows.failure", "clocks_throttle_reasons.active",
)  # fmt: skip
_OLD_FIELDS = _FIELDS[:5]
"""Fields that every driver has. A driver refuses a query with an unknown field."""
_TEXT_FIELDS = {"index", "name", "driver_version", "clocks_throttle_reasons.active"}
_KEYS = {
    "index": "index", "name": "name", "memory.total": "memory_mib", "driver_version": "driver", "temperature.gpu": "celsius",
    "ecc.errors.uncorrected.volatile.total": "ecc_uncorrected", "remapped_rows.pending": "remap_pending",
    "remapped_rows.failure": "remap_failed", "clocks_throttle_reasons.active": "throttled",
}  # fmt: skip
_THROTTLES = {0x8: "hardware slowdown", 0x20: "software thermal", 0x40: "hardware thermal", 0x80: "power brake"}
"""Throttle reasons that are a problem. Idle, a power cap and fixed clocks are not problems."""


def list_gpus() -> list[GpuRow]:
    """List this node's GPUs and their health; empty without nvidia-smi or GPUs."""
    for fields in (_FIELDS, _OLD_FIELDS):
        argv = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=15, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return []
        if done.returncode == 0:
            return parse_smi(done.stdout, fields)
    return []


def parse_smi(text: str, fields: tuple[str, ...] = _FIELDS) -> list[GpuRow]:
    """Parse nvidia-smi's CSV rows. An unsupported value ('[N/A]', '[Not Supported]') is None."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    return [{_KEYS[field]: _cell(field, cell) for field, cell in zip(fields, row, strict=True)} for row in rows if len(row) == len(fields)]


def _cell(field: str, cell: str) -> GpuValue:
    if "N/A" in cell or "Not Supported" in cell or "Unknown" in cell:
        return None
    if field == "clocks_throttle_reasons.active":
        active = int(cell, 16)
        return [reason for bit, reason in _THROTTLES.items() if active & bit]
    if field in ("index", *_TEXT_FIELDS):
        return int(cell) if field == "index" else cell
    number = re.match(r"\d+", cell)
    return int(number.group()) if number else {"No": 0, "Yes": 1}.get(cell)


def parse_nccl(log: str) -> NcclNetwork:
    """Parse NCCL's log (level INFO, subsystems INIT and NET): transport between nodes, NICs of this node, GPUDirect RDMA.

    The lines of channels ("via NET/...") show the network in use, so they have priority over the plugin's line ("Using network").
    `transport` is None if the log names none. OFI over TCP is not a fast network, so `transport` names it.
    """
    used = re.findall(r"via NET/([^/\n]+)/\d+", log) or re.findall(r"Using network ([^\n]+)", log)
    transport = _transport(used[-1].strip()) if used else None
    provider = re.search(r"NET/OFI Selected [Pp]rovider is ([^\s,]+)", log)
    if transport == "NET/OFI" and provider and re.match(r"tcp|sockets|udp", provider.group(1)):
        transport = f"NET/OFI over {provider.group(1)}"
    return {"transport": transport, "nics": _nics(transport, log), "gdrdma": "/GDRDMA" in log}


def _transport(network: str) -> str:
    if "Libfabric" in network or network == "OFI":
        return "NET/OFI"
    return "NET/IB" if re.match(r"IB(ext.*)?$", network) else f"NET/{network}"


def _nics(transport: str | None, log: str) -> int | None:
    if transport and transport.startswith("NET/OFI"):
        counts = [int(count) for count in re.findall(r"NET/OFI Selected [Pp]rovider is [^\n]*\(found (\d+) nics\)", log)]
    elif transport == "NET/Socket":
        counts = [len(re.findall(r"\[\d+\][\w.-]+:", line)) for line in re.findall(r"NET/Socket : Using ([^\n]+)", log)]
    else:
        counts = [len(re.findall(r"[\w.-]+:\d+/(?:IB|RoCE)", line)) for line in re.findall(r"NET/\w+ : Using ([^\n]+)", log)]
    return max(counts, default=0) or None
