"""A bucket of Google Cloud Storage for a test, and this process's variables pointing at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gpuyard.training_jobs.lifecycle import journal
from gpuyard.training_jobs.store import gcs
from tests.fakes.gcp.cloud_storage import FakeStorage


@contextmanager
def storage(monkeypatch: pytest.MonkeyPatch, *buckets: str, page: int = 1000) -> Iterator[FakeStorage]:
    """The service with these buckets, for whoever comes."""
    with FakeStorage(*buckets, page=page) as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        forget()
        try:
            yield found
        finally:
            forget()


def forget() -> None:
    """As a new process would find it: the clients hold the endpoint and the credentials of their test."""
    gcs.forget()
    journal._kept.clear()
