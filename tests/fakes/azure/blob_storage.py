"""Azure Blob Storage as clients see it: Azurite behind it, every call recorded, scripted faults, one container per test."""

from __future__ import annotations

import http.client
import itertools
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.lifecycle import journal
from gpuyard.training_jobs.store import blob
from tests.fakes.azure import azurite
from tests.fakes.azure.entra import FakeEntra
from tests.fakes.azure.https_proxy import HttpsProxy
from tests.fakes.azure.https_service import Answer, Call, FakeHttps

Fault = Callable[[str, str], Answer | None]
"""Function of (verb, path) that returns an answer, or None to let Azurite answer."""
_NUMBERS = itertools.count()
_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}


class FakeStorage(FakeHttps):
    """A server that records each call, applies scripted faults and passes the rest on to Azurite."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Fault = lambda verb, path: None
        self.loss: Fault = lambda verb, path: None
        self._azurite = azurite.port()  # started early: a client that waits for Azurite's start would retry, and start another one

    def serve(self, verb: str, host: str, target: str, headers: Mapping[str, str], raw: bytes) -> Answer | None:
        """Record the call, then apply its scripted fault or pass it on to Azurite."""
        path = target.partition("?")[0]
        with self.lock:
            self.calls.append(Call(verb, path, {}, None, raw, headers))
        faulty = self.fault(verb, path)
        if faulty is not None:
            return faulty
        answer = self._forward(verb, host, target, headers, raw)
        return self.loss(verb, path) or answer

    def _forward(self, verb: str, host: str, target: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        context = ssl._create_unverified_context()  # noqa: S323 the certificate is for the name in Host
        connection = http.client.HTTPSConnection("127.0.0.1", self._azurite, context=context, timeout=60)
        try:
            kept = {name: value for name, value in headers.items() if name.lower() not in _HOP}
            connection.request(verb, target, raw, {**kept, "Host": host, "Content-Length": str(len(raw))})
            response = connection.getresponse()
            body = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
            if verb == "HEAD" and (length := response.getheader("Content-Length")):
                kept["Content-Length"] = length
        finally:
            connection.close()
        return Answer(response.status, body, kept)


@dataclass
class Storage:
    """An account with one container under its own host name, and the identities that may use it."""

    front: FakeStorage
    entra: FakeEntra
    proxy: HttpsProxy
    container: str

    @property
    def url(self) -> str:
        """The URL of the container."""
        return f"abfs://{self.container}@{azurite.ACCOUNT}.dfs.core.windows.net"

    def client(self) -> Any:
        """Return the ordinary client of the container."""
        return blob.client(azurite.ACCOUNT).get_container_client(self.container)

    def objects(self) -> dict[str, bytes]:
        """Return all blobs."""
        return {entry.name: self.client().download_blob(entry.name).readall() for entry in self.client().list_blobs()}


@contextmanager
def signed_in(folder: Path, monkeypatch: pytest.MonkeyPatch, routes: Mapping[str, int]) -> Iterator[tuple[FakeEntra, HttpsProxy]]:
    """Sign this process in as a pipeline with a workload identity, and route Azure host names to ports of fakes."""
    with FakeEntra() as entra, HttpsProxy({"login.microsoftonline.com": entra.server_port, **routes}) as proxy:
        for name, value in {**proxy.environment(), **entra.environment(folder)}.items():
            monkeypatch.setenv(name, value)
        blob.drop_clients()
        journal._stored.clear()
        try:
            yield entra, proxy
        finally:
            blob.drop_clients()


@contextmanager
def storage(folder: Path, monkeypatch: pytest.MonkeyPatch, routes: Mapping[str, int] | None = None) -> Iterator[Storage]:
    """Sign this process in and run Azure Storage. `routes`: ports of fakes for other host names."""
    # A full host name takes precedence over a suffix.
    with (
        FakeStorage() as front,
        signed_in(folder, monkeypatch, {".blob.core.windows.net": front.server_port, **(routes or {})}) as (entra, proxy),
    ):
        found = Storage(front, entra, proxy, f"runs-{os.getpid()}-{next(_NUMBERS)}")
        found.client().create_container()
        front.calls.clear()
        yield found
