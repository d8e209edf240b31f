"""The boot script under a real systemd, with stand-in units that have the ordering lines of Docker and the ECS agent."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpuyard.components.boot import boot_script
from tests.fakes.boot_commands import HEALTHY, FakeMachine

_SYSTEMD = Path("/lib/systemd/systemd")
_SYSTEMCTL = shutil.which("systemctl") or "/bin/systemctl"
# ecs.service: github.com/aws/amazon-ecs-agent, packaging/amazon-linux-ami-integrated/ecs.service, read on 2026-12-01
_UNITS = {
    "boot.target": "[Unit]\nWants=docker.service ecs.service cloud-final.service\n",
    "containerd.service": "[Service]\nExecStart=sleep 1000\n",
    "docker.socket": "[Socket]\nListenStream=%t/docker.sock\n",
    "docker.service": "[Unit]\nRequires=docker.socket\nWants=containerd.service\nAfter=containerd.service{after}\n"
    "[Service]\nType=notify\nNotifyAccess=all\nExecStart=bash -c 'systemd-notify --ready; exec sleep 1000'\n",
    "ecs.service": "[Unit]\nWants=docker.service\nPartOf=docker.service\nAfter=docker.service\nAfter=cloud-final.service\n"
    "[Service]\nType=simple\nRestart=on-failure\nRestartSec=10s\n"
    "ExecStartPre=bash -c '[ $({systemctl} --user is-active docker) = active ]'\nExecStart=sleep 1000\n",
    "cloud-final.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=bash {script}\n",
}
_INIT = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR" || exit 77
{systemd} --user --unit=boot.target &
for _ in $(seq 100); do
  sleep 0.1
  [[ $({systemctl} --user is-active cloud-final) =~ ^(active|failed)$ ]] && [ -z "$({systemctl} --user list-jobs --no-legend)" ] && break
done
{systemctl} --user is-active cloud-final docker ecs
"""
_NAMESPACES = ["unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = FakeMachine(tmp_path)
    made.command("systemctl", f'exec {_SYSTEMCTL} --user "$@"')
    return made


def boot(machine: FakeMachine, script: str, *, docker_after: str = "") -> list[str]:
    """Boot with `script` as user data. Return the states of cloud-final, docker and ecs."""
    units = machine.root.parent / "units"
    units.mkdir()
    user_data = machine.fake / "script"
    user_data.write_text(f"export PATH={machine.bin} FAKE={machine.fake}\nexec >{machine.fake}/log 2>&1\n{script}")
    for name, text in _UNITS.items():
        (units / name).write_text(text.format(after=docker_after, script=user_data, systemctl=_SYSTEMCTL))
    env = {
        "PATH": os.environ["PATH"],
        "XDG_RUNTIME_DIR": "/run/user/gpuyard",
        "XDG_CONFIG_HOME": str(units),
        "SYSTEMD_UNIT_PATH": f"{units}:",
    }
    init = _INIT.format(systemd=_SYSTEMD, systemctl=_SYSTEMCTL)
    done = subprocess.run([*_NAMESPACES, "bash", "-c", init], env=env, capture_output=True, text=True, check=False, timeout=30)
    states = done.stdout.split()
    if len(states) != 3 or states[0] in ("unknown", "offline"):
        pytest.skip(f"no systemd can run in namespaces here: {done.stderr.strip()[-200:]}")
    return states


pytestmark = pytest.mark.skipif(not _SYSTEMD.exists() or shutil.which("unshare") is None, reason="no systemd on this machine")


def test_stopping_docker_alone_cancels_the_agents_start(machine: FakeMachine) -> None:
    """The fault that the script works around: without it, the next test would prove nothing."""
    assert boot(machine, "systemctl stop docker\nsystemctl start docker\n") == ["active", "active", "inactive"]


@pytest.mark.parametrize("docker_after", ["", "\nAfter=cloud-final.service"])
def test_the_boot_script_leaves_the_agent_running(machine: FakeMachine, docker_after: str) -> None:
    script = boot_script(dataclasses.replace(HEALTHY, root=str(machine.root)))
    assert boot(machine, script, docker_after=docker_after) == ["active", "active", "active"]
    assert machine.ready
    assert ("systemctl stop docker.socket docker containerd" in machine.calls) == (not docker_after)


def test_a_machine_with_a_broken_image_never_starts_the_agent(machine: FakeMachine) -> None:
    machine.without("nvidia-ctk")
    assert boot(machine, boot_script(dataclasses.replace(HEALTHY, root=str(machine.root))))[2] == "inactive"
