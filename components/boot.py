"""The boot script of a machine, as text: health, local disks, containers on them, their output. Pure; it holds no secret."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_BODY = Path(__file__).with_name("boot.sh")
_BOUNDARY = "==gpuyard=="


@dataclass(frozen=True)
class Boot:
    """What the script is told. Nothing in it is secret: whoever can describe the machine can read it."""

    gpus: int
    """GPUs that nvidia-smi must show, else the machine ends itself."""
    fast_nics: int = 0
    """Network cards with `nic_driver` that must be there, else the machine ends itself; 0 = not looked at."""
    nic_driver: str = ""
    """Kernel module of the fast network, such as efa."""
    disks: str = ""
    """Pattern of the local disks' names below /dev/disk/by-id; they become one disk, mounted at /scratch. Default: there are none."""
    image_mount: str = ""
    """Where some images mount the local disks themselves; if they did, /scratch is that."""
    image_unit: str = ""
    """The image's systemd unit that does so; waited for."""
    containers: Literal["required", "optional"] = "required"
    """Whether an image without docker ends the machine (default), or is left as it is."""
    log_driver: str = ""
    """Docker's driver that ships the output of containers with the machine's identity: awslogs, gcplogs. Default: as the image has it."""
    log_options: Mapping[str, str] = field(default_factory=dict)
    """The driver's options, none of them secret."""
    gpu_wait_s: int = 300
    """Seconds that drivers may take to load."""
    root: str = ""
    """What comes before every path; tests alone set it."""


def boot_script(boot: Boot) -> str:
    """The script: its settings, then boot.sh. It runs once, as root, at the first boot."""
    settings = {
        "GPUS": boot.gpus,
        "FAST_NICS": boot.fast_nics,
        "NIC_DRIVER": boot.nic_driver,
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
    return "\n".join(["#!/bin/bash", *lines, _BODY.read_text(encoding="utf-8")])


def multipart(script: str) -> str:
    """The script as the one part of a MIME multi-part text: the form that cloud-init reads and that a service can add its own part to."""
    if _BOUNDARY in script:
        raise ValueError(f"the script holds {_BOUNDARY}, which parts its text")
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
