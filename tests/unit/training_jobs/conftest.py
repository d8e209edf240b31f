"""Fixtures of all tests of training_jobs."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.launch import hook


@pytest.fixture(autouse=True)
def no_exit_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the timer of `leave_resumable`, which would end the test process seconds later, during another test."""
    monkeypatch.setattr(hook, "_EXIT_WATCHDOG_S", 1e6)
