"""A runner over a local pool whose nodes run a small test program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpuyard.training_jobs.backends import local
from gpuyard.training_jobs.backends.local import spawn
from gpuyard.training_jobs.runner import Runner
from tests.helpers.local_pool import NODE_PROGRAM, job, make_target
from tests.helpers.local_processes import Start, leftover_processes


@pytest.fixture
def node_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node_program.py").write_text(NODE_PROGRAM)
    monkeypatch.setattr(spawn, "_SUPERVISOR", "tests.helpers.local_supervisor")
    monkeypatch.setattr(local, "GRACE_S", 1)


@pytest.fixture
def equal_nonces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every submission the same random part, so that a second record of a run has the job names of the first."""
    monkeypatch.setattr("gpuyard.training_jobs.lifecycle.handle.secrets", SimpleNamespace(token_hex=lambda _: "0badcafe"))


@pytest.fixture
def runner(tmp_path: Path, node_program: None) -> Iterator[Runner]:
    runner = Runner({"local": make_target(tmp_path)})
    yield runner
    for status in runner.runs():
        runner.cancel(status.run_id)
    assert leftover_processes(tmp_path) == []


@pytest.fixture
def start(runner: Runner) -> Start:
    def submit(name: str = "job", **keys: Any) -> str:
        return runner.submit(job(name, **keys), None).status.run_id

    return submit
