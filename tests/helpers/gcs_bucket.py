"""Google Cloud Storage buckets for a test, with this process's environment set to use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gpuyard.training_jobs.lifecycle import journal
from gpuyard.training_jobs.store import gcs
from tests.fakes.gcp.cloud_storage import FakeStorage


@contextmanager
def storage(monkeypatch: pytest.MonkeyPatch, *buckets: str, page: int = 1000) -> Iterator[FakeStorage]:
    """Run the service with these buckets. Every caller is accepted."""
    with FakeStorage(*buckets, page=page) as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        drop_cached_clients()
        try:
            yield found
        finally:
            drop_cached_clients()


def drop_cached_clients() -> None:
    """Drop cached clients, as in a new process: they keep endpoint and credentials of their test."""
    gcs.drop_client()
    journal._stored.clear()
