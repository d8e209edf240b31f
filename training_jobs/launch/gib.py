"""Reads the NCCL settings of Google's gIB plugin, which the RDMA cards of A3 Ultra, A4 and A4X need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["SCRIPT", "gib_settings"]

_TRANSPORT = "NET/gIB"
SCRIPT = Path("/usr/local/gib/scripts/set_nccl_env.sh")
"""The plugin's script, where its installer and images/gcp put it."""
_TIMEOUT_S = 60.0


def gib_settings(transport: str | None, script: Path = SCRIPT) -> dict[str, str]:
    """Return the NCCL variables that the plugin's own script sets. Empty for another transport, or if the image has no plugin.

    Google's samples source the script before NCCL starts: GoogleCloudPlatform/cluster-toolkit, examples/gke-a3-ultragpu (2026-06-25).
    """
    if transport != _TRANSPORT or not script.exists():
        return {}
    argv = ["bash", "-c", 'source "$1" >&2 && env -0', "bash", str(script)]
    try:
        found = subprocess.run(argv, stdout=subprocess.PIPE, timeout=_TIMEOUT_S, check=True, text=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        print(f"gpuyard: cannot read the settings of Google's NCCL plugin: {error}", file=sys.stderr, flush=True)
        return {}
    pairs = (entry.partition("=") for entry in found.split("\0"))
    return {"NCCL_NET": "gIB", **{name: value for name, _, value in pairs if name.startswith("NCCL_")}}
