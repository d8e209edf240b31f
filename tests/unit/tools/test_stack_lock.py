"""Stack locks: those of dead processes are removed, those of running ones and of other hosts are respected."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.tools.engines import script
from tools import stack_lock


def _lock(root: Path, pid: int, host: str | None = None) -> None:
    folder = root / ".yard/state/.pulumi/locks/organization/gpuyard/local"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"pid": pid, "username": "u", "hostname": host or socket.gethostname(), "timestamp": "2026-11-22T23:27:52Z"})
    (folder / f"{pid}.json").write_text(text, encoding="utf-8")


@pytest.fixture
def live() -> Iterator[int]:
    """Start a process that looks like a running engine, and return its pid."""
    process = subprocess.Popen(["sh", "-c", "read x # pulumi up"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    script(tmp_path / "bin" / "pulumi", f'echo "$*" >> "{tmp_path}/calls"')
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}


def _dead() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_without_a_lock_pulumi_is_not_called(tmp_path: Path, env: dict[str, str]) -> None:
    assert stack_lock.recover(tmp_path, "local", env) is False
    assert not (tmp_path / "calls").exists()


def test_a_dead_lock_is_cancelled_and_its_pending_creates_cleared(tmp_path: Path, env: dict[str, str]) -> None:
    _lock(tmp_path, _dead())
    assert stack_lock.recover(tmp_path, "local", env) is True
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert [call.split()[0] for call in calls] == ["cancel", "refresh"]
    assert all("--stack local --non-interactive" in call for call in calls)


def test_a_live_lock_is_respected_also_beside_a_dead_one(tmp_path: Path, env: dict[str, str], live: int) -> None:
    _lock(tmp_path, _dead())
    _lock(tmp_path, live)
    with pytest.raises(
        stack_lock.StackBusyError, match=rf"another pulumi process has locked stack 'local' \(pid {live} on .*\nfix: wait for it"
    ):
        stack_lock.recover(tmp_path, "local", env)
    assert not (tmp_path / "calls").exists()


def test_a_lock_whose_pid_belongs_to_another_program_is_dead() -> None:
    process = subprocess.Popen(["sh", "-c", "read x"], stdin=subprocess.PIPE)
    try:
        assert not stack_lock.is_alive(stack_lock.Lock(process.pid, socket.gethostname(), ""))
    finally:
        process.communicate()


def test_a_lock_of_another_host_is_respected(tmp_path: Path, env: dict[str, str]) -> None:
    _lock(tmp_path, _dead(), host="elsewhere")
    with pytest.raises(stack_lock.StackBusyError, match="on elsewhere"):
        stack_lock.recover(tmp_path, "local", env)


def test_an_unreadable_lock_is_left_to_the_engine(tmp_path: Path, env: dict[str, str]) -> None:
    _lock(tmp_path, 1)
    next((tmp_path / ".yard").rglob("*.json")).write_text("{", encoding="utf-8")
    assert stack_lock.recover(tmp_path, "local", env) is False
