"""The bootstrapped engine runs a program in a path with spaces, and recovers from a kill -9 of `pulumi up`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.helpers.waiting import wait_for
from tools import local_env, stack_lock

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = """
import time

import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class Slow(ResourceProvider):
    def create(self, props):
        time.sleep(props["seconds"])
        return CreateResult("id", dict(props))


class Thing(Resource):
    pass


seconds = pulumi.Config().require_int("seconds")
print("seconds", seconds)
Thing(Slow(), "slow", {"seconds": seconds})
pulumi.export("seconds", seconds)
"""

pytestmark = pytest.mark.engine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create a project in a path with spaces, started from a folder below it."""
    root = tmp_path / "a path"
    (root / "stacks").mkdir(parents=True)
    (root / "Pulumi.yaml").write_text("name: gpuyard\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n", encoding="utf-8")
    (root / "stacks" / "__main__.py").write_text(PROGRAM, encoding="utf-8")
    return root


@pytest.fixture
def env(root: Path) -> dict[str, str]:
    """Return the environment of `make demo` with the bootstrapped engine."""
    script = CHECKOUT / "tools" / "engine" / "bootstrap.py"
    ran = subprocess.run([sys.executable, script, "--print-path"], capture_output=True, text=True, check=True)
    folder = Path(ran.stdout.strip())
    assert (folder / "pulumi").exists()
    return local_env.environment(root, folder, os.environ)


def _pulumi(root: Path, env: dict[str, str], *arguments: str) -> str:
    argv = ["pulumi", *arguments, "--non-interactive"]
    ran = subprocess.run(argv, cwd=root / "stacks", env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _of_this_project(root: Path) -> list[str]:
    """Return the processes that still use this project's engine."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(root) in process.environ().get("PULUMI_HOME", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_a_killed_up_is_recovered_and_leaves_no_process(root: Path, env: dict[str, str]) -> None:
    _pulumi(root, env, "stack", "init", "local")
    _pulumi(root, env, "config", "set", "seconds", "600")
    up = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"]
    with (root / "up.log").open("wb") as log:
        process = subprocess.Popen(up, cwd=root, env=env, stdout=log, stderr=log)
        try:
            wait_for(lambda: process.poll() is not None or "slow creating" in (root / "up.log").read_text(encoding="utf-8"))
            assert process.poll() is None
            with pytest.raises(stack_lock.StackBusyError, match=f"pid {process.pid}"):
                stack_lock.recover(root, "local", env)
        finally:
            process.kill()
            process.wait()
    wait_for(lambda: not _of_this_project(root), lambda: _of_this_project(root), limit_s=10)
    assert stack_lock.recover(root, "local", env) is True
    _pulumi(root, env, "config", "set", "seconds", "0")
    said = _pulumi(root, env, "up", "--yes", "--skip-preview")
    assert "pending operations" not in said
    assert "seconds 0" in said
    assert json.loads(_pulumi(root, env, "stack", "output", "--json")) == {"seconds": 0}
    _pulumi(root, env, "up", "--yes", "--skip-preview", "--expect-no-changes")
    _pulumi(root, env, "destroy", "--yes", "--skip-preview")
    _pulumi(root, env, "stack", "rm", "local", "--yes")
