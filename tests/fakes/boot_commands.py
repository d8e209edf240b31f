"""A fake machine for the boot script: a root directory with disks and network cards, and stand-in commands that record their calls."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

from gpuyard.components.boot import Boot, boot_script

HEALTHY = Boot(gpus=8, fast_nics=2, nic_driver="efa", disks="/dev/disk/by-id/nvme-local_*", gpu_wait_s=0)
GPUS = 'for i in $(seq "${FAKEGPUS:-8}"); do echo "GPU $i: H100 (UUID: GPU-$i)"; done'
_MOUNTPOINT = 'grep -qxF "${@: -1}" "$FAKE/mounted" 2>/dev/null'
_MOUNT = '[ -z "${FAKE_NO_MOUNT:-}" ] && echo "${@: -1}" >>"$FAKE/mounted"'
_COMMANDS = {
    "nvidia-smi": GPUS,
    "nvidia-ctk": "",
    "docker": "",
    "modprobe": "",
    "shutdown": "",
    "systemctl": '[ "$1" != cat ]',  # no unit of an ECS agent
    "mdadm": '[ -z "${FAKE_NO_ARRAY:-}" ] && touch "$2"',
    "mkfs.xfs": "",
    "blkid": "exit 2",
    "mount": _MOUNT,
    "mountpoint": _MOUNTPOINT,
    "dnf": "exit 1",
    "apt-get": "exit 1",
}
_REAL = ("bash", "cat", "echo", "grep", "mkdir", "readlink", "seq", "sleep", "sort", "timeout", "touch")


class FakeMachine:
    """A root directory with disks and network cards, and a PATH of stand-in commands that record their calls."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin, self.fake = root / "root", root / "bin", root / "fake"
        for folder in (self.root / "etc", self.root / "dev", self.bin, self.fake):
            folder.mkdir(parents=True)
        for name in _REAL:
            (self.bin / name).symlink_to(shutil.which(name) or name)
        (self.bin / "python3").symlink_to(Path(sys.executable).resolve())
        for name, body in _COMMANDS.items():
            self.command(name, body)
        self.disks(2)
        self.cards(["efa", "efa", "mlx5_core"])
        self.gpus(8)

    def command(self, name: str, body: str) -> None:
        script = self.bin / name
        script.write_text(f'#!/bin/bash\necho "{name} $*" >>"$FAKE/calls"\n{body}\n')
        script.chmod(0o755)

    def without(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink()

    def disks(self, count: int) -> None:
        names = self.root / "dev/disk/by-id"
        shutil.rmtree(names, ignore_errors=True)
        names.mkdir(parents=True)
        for index in range(count):
            (self.root / f"dev/nvme{index}n1").touch()
            for name in (f"nvme-local_{index}", f"nvme-local_{index}_1"):  # udev gives a disk two names
                (names / name).symlink_to(self.root / f"dev/nvme{index}n1")

    def cards(self, drivers: list[str], links: tuple[str, ...] = ()) -> None:
        known = self.root / "sys/class/infiniband"
        shutil.rmtree(known, ignore_errors=True)
        for index, driver in enumerate(drivers):
            (self.root / "sys/drivers" / driver).mkdir(parents=True, exist_ok=True)
            device = known / f"card{index}" / "device"
            device.mkdir(parents=True)
            (device / "driver").symlink_to(self.root / "sys/drivers" / driver)
            if index < len(links):
                port = known / f"card{index}" / "ports/1"
                port.mkdir(parents=True)
                (port / "link_layer").write_text(f"{links[index]}\n")

    def gpus(self, count: int) -> None:
        """Put GPUs and a switch between them on the PCI bus."""
        known = self.root / "sys/bus/pci/devices"
        shutil.rmtree(known, ignore_errors=True)
        for index, kind in enumerate([*["0x030200"] * count, "0x068000"]):
            (known / str(index)).mkdir(parents=True)
            (known / str(index) / "vendor").write_text("0x10de\n")
            (known / str(index) / "class").write_text(f"{kind}\n")

    def boot(self, boot: Boot = HEALTHY, *, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        script = self.fake / "script"
        script.write_text(boot_script(dataclasses.replace(boot, root=str(self.root)), before))
        env = {"PATH": str(self.bin), "FAKE": str(self.fake), **environment}
        return subprocess.run([str(self.bin / "bash"), str(script)], env=env, capture_output=True, text=True, check=False, timeout=60)

    @property
    def calls(self) -> list[str]:
        calls = self.fake / "calls"
        return calls.read_text().replace(str(self.root), "").splitlines() if calls.exists() else []

    @property
    def ready(self) -> bool:
        return (self.root / "run/gpuyard/ready").exists()
