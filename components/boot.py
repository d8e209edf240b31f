"""The boot script of a machine: checks its health, stripes local disks, sets up containers and their logs. It contains no secrets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Boot", "boot_script", "multipart"]

_BODY = Path(__file__).with_name("boot.sh")
_BOUNDARY = "==gpuyard=="


@dataclass(frozen=True)
class Boot:
    """Settings of the boot script. They contain no secrets: everybody who can describe the machine can read them."""

    gpus: int
    """Number of GPUs that nvidia-smi must list. If some are missing, the machine shuts down. If all are missing, the image is broken."""
    fast_nics: int = 0
    """Number of network cards with `nic_driver`. If some are missing, the machine shuts down. 0: no check."""
    nic_driver: str = ""
    """Kernel module of the fast network, such as efa."""
    nic_link: str = ""
    """Link layer of the fast network cards, such as InfiniBand, if other cards have the same driver. Default: no check."""
    disks: str = ""
    """Path pattern of the local disks in /dev/disk/by-id. They become one disk, mounted at /scratch. Default: no local disks."""
    image_mount: str = ""
    """Directory where some images mount the local disks themselves. /scratch is then a bind mount of it."""
    image_unit: str = ""
    """systemd unit of the image that mounts the local disks; the script starts it first."""
    containers: Literal["required", "optional"] = "required"
    """required (default): a machine without docker takes no jobs. optional: the machine keeps running without containers."""
    log_driver: str = ""
    """Docker's log driver, awslogs or gcplogs, which logs in with the machine's identity. Default: the image's setting."""
    log_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the log driver."""
    gpu_wait_s: int = 300
    """Seconds to wait for the GPU drivers."""
    root: str = ""
    """Prefix of every path, only for tests."""


def boot_script(boot: Boot, before: str = "") -> str:
    """Return the script: its settings, then boot.sh. It runs as root at the first boot, on Google Cloud at every boot.

    `before`: shell code between settings and boot.sh. If it defines `replace_machine`, broken machines call that and do not shut down.
    """
    settings = {
        "GPUS": boot.gpus,
        "FAST_NICS": boot.fast_nics,
        "NIC_DRIVER": boot.nic_driver,
        "NIC_LINK": boot.nic_link,
        "DISKS": boot.disks,
        "IMAGE_MOUNT": boot.image_mount,
        "IMAGE_UNIT": boot.image_unit,
        "CONTAINERS": boot.containers,
        "LOG_DRIVER": boot.log_driver,
        "LOG_OPTIONS": json.dumps(dict(boot.log_options)),
        "GPU_WAIT_S": boot.gpu_wait_s,
        "ROOT": boot.root,
    }
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in settings.items()]
    return "\n".join(["#!/bin/bash", *lines, *([before] if before else []), _BODY.read_text(encoding="utf-8")])


def multipart(script: str) -> str:
    """Return the script as a MIME multipart text with one part. cloud-init reads it, and AWS Batch can add another part."""
    if _BOUNDARY in script:
        raise ValueError(f"the script contains {_BOUNDARY}, the boundary between MIME parts")
    lines = [
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"',
        "",
        f"--{_BOUNDARY}",
        'Content-Type: text/x-shellscript; charset="us-ascii"',
        "",
        script,
        f"--{_BOUNDARY}--",
        "",
    ]
    return "\n".join(lines)
