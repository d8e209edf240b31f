"""What holds for every test of training_jobs."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.launch import hook


@pytest.fixture(autouse=True)
def no_exit_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """`leave_resumable` in a test would end the test process itself, seconds later, in the middle of another test."""
    monkeypatch.setattr(hook, "_EXIT_WATCHDOG_S", 1e6)
