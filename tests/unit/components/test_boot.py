"""The boot script runs with fake commands of a machine; each test covers one branch."""

from __future__ import annotations

import dataclasses
import email
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gpuyard.components.boot import boot_script, multipart
from tests.fakes.boot_commands import GPUS, HEALTHY, FakeMachine


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def shuts_down(machine: FakeMachine, done: subprocess.CompletedProcess[str], because: str) -> bool:
    return done.returncode == 1 and because in done.stdout and machine.calls[-1] == "shutdown -h now" and not machine.ready


def stays_drained(machine: FakeMachine, done: subprocess.CompletedProcess[str], because: str) -> bool:
    """Tell whether the machine stays and takes no jobs. Another machine with its image would be the same, and cost money for ever."""
    reason = machine.root / "run/gpuyard/unhealthy"
    drained = machine.calls[-1] == "systemctl mask --runtime --now ecs.service" and "shutdown -h now" not in machine.calls
    return (
        done.returncode == 1
        and f"unhealthy image: {because}" in done.stdout
        and because in reason.read_text()
        and drained
        and not machine.ready
    )


def test_a_healthy_machine_is_ready(machine: FakeMachine) -> None:
    done = machine.boot()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "gpuyard: healthy: 8 GPUs, 2 fast network cards"
    assert machine.ready
    assert machine.calls == [
        "nvidia-smi -L",
        "modprobe efa",
        "mountpoint -q /scratch",
        "mdadm --create /dev/md0 --run --level=0 --raid-devices=2 /dev/nvme0n1 /dev/nvme1n1",
        "blkid /dev/md0",
        "mkfs.xfs -q -L gpuyard /dev/md0",
        "mount -t xfs -o noatime /dev/md0 /scratch",
        "systemctl show --property After docker.service",
        "systemctl stop docker.socket docker containerd",
        "mountpoint -q /var/lib/docker",
        "mount --bind /scratch/docker /var/lib/docker",
        "mountpoint -q /var/lib/containerd",
        "mount --bind /scratch/containerd /var/lib/containerd",
        "systemctl start containerd docker",
        "systemctl cat ecs.service",
    ]
    table = (machine.root / "etc/fstab").read_text().replace(str(machine.root), "")
    assert "LABEL=gpuyard /scratch xfs noatime,nofail 0 0" in table
    assert all("nofail" in line for line in table.splitlines())


def test_the_script_runs_again_without_harm(machine: FakeMachine) -> None:
    machine.boot()
    table = (machine.root / "etc/fstab").read_text()
    (machine.fake / "calls").unlink()
    assert machine.boot().returncode == 0
    assert not any(call.startswith(("mdadm", "mkfs", "mount ", "systemctl stop")) for call in machine.calls), "containers keep running"
    assert (machine.root / "etc/fstab").read_text() == table


def test_a_missing_gpu_shuts_the_machine_down(machine: FakeMachine) -> None:
    done = machine.boot(FAKEGPUS="7")
    assert shuts_down(machine, done, "unhealthy: nvidia-smi shows 7 GPUs, this type of machine has 8")
    assert not any("mount" in call for call in machine.calls)


def test_an_image_without_a_working_driver_keeps_the_machine(machine: FakeMachine) -> None:
    machine.without("nvidia-smi")
    assert stays_drained(machine, machine.boot(), "its driver finds none of the machine's 8 GPUs")


def test_a_machine_that_lost_its_gpus_shuts_down(machine: FakeMachine) -> None:
    machine.gpus(7)
    machine.without("nvidia-smi")
    assert shuts_down(machine, machine.boot(), "shows 0 GPUs")


def test_the_script_waits_for_the_gpu_driver(machine: FakeMachine) -> None:
    late = f'if [ -e "$FAKE/loaded" ]; then {GPUS}; fi; touch "$FAKE/loaded"'
    machine.command("nvidia-smi", late)
    (machine.bin / "sleep").unlink()
    machine.command("sleep", "")
    assert machine.boot(dataclasses.replace(HEALTHY, gpu_wait_s=300)).returncode == 0
    assert machine.calls[:3] == ["nvidia-smi -L", "sleep 5", "nvidia-smi -L"]


def test_cards_of_another_driver_do_not_count(machine: FakeMachine) -> None:
    machine.cards(["efa", "mlx5_core", "mlx5_core"])
    assert shuts_down(machine, machine.boot(), "unhealthy: 1 network cards with the driver efa, this type of machine has 2")


def test_an_ethernet_card_of_the_same_driver_is_no_fast_card(machine: FakeMachine) -> None:
    """Azure's Ethernet card and its InfiniBand cards have one driver."""
    settings = dataclasses.replace(HEALTHY, fast_nics=2, nic_driver="mlx5_core", nic_link="InfiniBand")
    machine.cards(["mlx5_core"] * 3, ("Ethernet", "InfiniBand", "InfiniBand"))
    assert machine.boot(settings).stdout.splitlines()[-1] == "gpuyard: healthy: 8 GPUs, 2 fast network cards"
    machine.cards(["mlx5_core"] * 2, ("Ethernet", "InfiniBand"))
    assert "1 network cards with the driver mlx5_core, this type of machine has 2" in machine.boot(settings).stdout


def test_an_image_without_the_fast_network_driver_keeps_the_machine(machine: FakeMachine) -> None:
    """Every replacement machine would shut itself down too, and each costs money."""
    machine.cards([])
    machine.command("modprobe", "exit 1")
    done = machine.boot()
    assert "the image has no driver efa" in done.stdout
    assert "no network card with the driver efa, this type of machine has 2: the preflight will refuse multi-node jobs" in done.stdout
    assert done.returncode == 0


def test_a_machine_without_a_fast_network_skips_the_check(machine: FakeMachine) -> None:
    machine.cards([])
    done = machine.boot(dataclasses.replace(HEALTHY, fast_nics=0, nic_driver=""))
    assert done.returncode == 0
    assert "modprobe" not in " ".join(machine.calls)


def test_one_disk_needs_no_array(machine: FakeMachine) -> None:
    machine.disks(1)
    assert machine.boot().returncode == 0
    assert "mount -t xfs -o noatime /dev/nvme0n1 /scratch" in machine.calls
    assert not any(call.startswith("mdadm") for call in machine.calls)


def test_no_disk_leaves_containers_where_they_are(machine: FakeMachine) -> None:
    machine.disks(0)
    done = machine.boot()
    assert done.returncode == 0
    assert "no local disks: containers stay on the root disk" in done.stdout
    assert not any(call.startswith("mount ") for call in machine.calls)
    assert machine.calls[-2] == "systemctl start containerd docker"


def test_disks_that_the_image_mounted_are_used(machine: FakeMachine) -> None:
    (machine.fake / "mounted").write_text(f"{machine.root}/opt/image/nvme\n")
    done = machine.boot(dataclasses.replace(HEALTHY, image_mount="/opt/image/nvme", image_unit="image-nvme.service"))
    assert done.returncode == 0
    assert "systemctl start image-nvme.service" in machine.calls
    assert "mount --bind /opt/image/nvme /scratch" in machine.calls
    assert not any(call.startswith(("mdadm", "mkfs")) for call in machine.calls)


def test_an_image_without_mdadm_uses_one_disk(machine: FakeMachine) -> None:
    machine.without("mdadm")
    done = machine.boot()
    assert done.returncode == 0
    assert "no mdadm in this image: 1 of 2 local disks is used" in done.stderr
    assert "mount -t xfs -o noatime /dev/nvme0n1 /scratch" in machine.calls


@pytest.mark.parametrize(
    ("fault", "because"),
    [("FAKE_NO_ARRAY", "cannot stripe its 2 local disks"), ("FAKE_NO_MOUNT", "/dev/md0 cannot be mounted")],
)
def test_broken_disks_shut_the_machine_down(machine: FakeMachine, fault: str, because: str) -> None:
    assert shuts_down(machine, machine.boot(HEALTHY, **{fault: "1"}), because)


def test_a_broken_file_system_shuts_the_machine_down(machine: FakeMachine) -> None:
    machine.command("mkfs.xfs", "exit 1")
    assert shuts_down(machine, machine.boot(), "cannot make a file system on")


def test_an_image_without_the_container_toolkit_keeps_the_machine(machine: FakeMachine) -> None:
    machine.without("nvidia-ctk")
    assert stays_drained(machine, machine.boot(), "no NVIDIA container toolkit in this image")


def test_an_image_without_docker_keeps_the_machine_if_containers_are_required(machine: FakeMachine) -> None:
    machine.without("docker")
    assert stays_drained(machine, machine.boot(), "no docker in this image")
    assert "no docker in this image: containers are not set up" in machine.boot(dataclasses.replace(HEALTHY, containers="optional")).stdout
    assert machine.ready


def test_an_image_whose_docker_does_not_start_keeps_the_machine(machine: FakeMachine) -> None:
    machine.command("systemctl", '[ "$1" != start ]')
    assert stays_drained(machine, machine.boot(), "docker does not start")


def test_the_output_of_containers_goes_to_the_log_group(machine: FakeMachine) -> None:
    settings = machine.root / "etc/docker/daemon.json"
    settings.parent.mkdir()
    settings.write_text('{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}')
    assert (
        machine.boot(
            dataclasses.replace(HEALTHY, log_driver="awslogs", log_options={"awslogs-group": "it's a group", "mode": "non-blocking"})
        ).returncode
        == 0
    )
    assert json.loads(settings.read_text()) == {
        "runtimes": {"nvidia": {"path": "nvidia-container-runtime"}},
        "log-driver": "awslogs",
        "log-opts": {"awslogs-group": "it's a group", "mode": "non-blocking"},
    }


def test_an_image_with_unreadable_docker_settings_keeps_the_machine(machine: FakeMachine) -> None:
    settings = machine.root / "etc/docker/daemon.json"
    settings.parent.mkdir()
    settings.write_text("no JSON")
    assert stays_drained(machine, machine.boot(dataclasses.replace(HEALTHY, log_driver="gcplogs")), "cannot set Docker's log driver")


def test_the_script_is_the_only_part_of_a_multipart_text() -> None:
    script = boot_script(HEALTHY)
    message = email.message_from_string(multipart(script))
    assert message.get_content_type() == "multipart/mixed"
    part: Any = message.get_payload(0)
    assert len(message.get_payload()) == 1
    assert part.get_content_type() == "text/x-shellscript"
    assert part.get_payload() == script
    with pytest.raises(ValueError, match="==gpuyard=="):
        multipart("a\n--==gpuyard==\nb")


def test_the_script_is_small_plain_and_without_secrets(tmp_path: Path) -> None:
    script = boot_script(HEALTHY)
    assert script.startswith("#!/bin/bash\n")
    assert len(multipart(script).encode("ascii")) < 12_000  # EC2's limit is 16 KiB, and Batch adds its own part
    words = script.lower()
    assert not [
        word for word in ("secret", "token", "password", "access_key", "curl", "http", "--privileged", "chmod 777") if word in words
    ]
    (tmp_path / "script").write_text(script)
    assert subprocess.run(["bash", "-n", str(tmp_path / "script")], capture_output=True, check=False).stderr == b""
