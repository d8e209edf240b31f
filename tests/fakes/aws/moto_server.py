"""moto's S3, Secrets Manager and CloudWatch Logs on 127.0.0.1, in a thread of the test, with the standard endpoint variables set."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from gpuyard.training_jobs.lifecycle import journal
from gpuyard.training_jobs.store import s3

REGION = "us-east-1"
KEY_ID, SECRET_KEY = "AKIAGPUYARDTESTKEY00", "gpuyard-test-secret-access-key-0000000000"
_SERVICES = ("S3", "SECRETS_MANAGER", "CLOUDWATCH_LOGS", "IAM", "KMS", "STS")

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Fault = Callable[[str, str], tuple[str, bytes] | None]
"""Function of (method, path) that returns (status line, body), or None to let moto answer."""


class _OneAtATime:
    """Makes conditional writes wait for each other, as S3 does. moto itself checks and writes without a lock."""

    def __init__(self, app: App) -> None:
        self._app, self._lock = app, threading.Lock()
        self.calls: list[tuple[str, str]] = []
        self.fault: Fault = lambda method, path: None
        self.loss: Fault = lambda method, path: None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.calls.append((method, path))
        faulty = self.fault(method, path)
        if faulty is None:
            with self._lock:
                answer: list[Any] = []
                body = b"".join(self._app(environ, lambda *head: answer.append(head)))
            faulty = self.loss(method, path)
            if faulty is None:
                start_response(*answer[0])
                return [body]
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(faulty[0], [("Content-Type", "application/xml"), ("Content-Length", str(len(faulty[1])))])
        return [b"" if method == "HEAD" else faulty[1]]


class Moto:
    """A server with scripted faults. `calls` lists its requests."""

    def __init__(self, url: str, app: _OneAtATime) -> None:
        self.url, self._app = url, app

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The (method, path) of every request so far."""
        return self._app.calls

    def fail(self, fault: Fault) -> None:
        """Let a function answer instead of moto."""
        self._app.fault = fault

    def lose(self, loss: Fault) -> None:
        """Let a function answer after moto has done the request."""
        self._app.loss = loss

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a process that uses this server, as a user would set them."""
        names = {f"AWS_ENDPOINT_URL_{name}": self.url for name in _SERVICES}
        return {**names, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION,
                "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip


@contextmanager
def moto(monkeypatch: pytest.MonkeyPatch, *buckets: str) -> Iterator[Moto]:
    """Start moto with these buckets, and set this process's environment to use it."""
    app = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request would hide the output of a failed test
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    found = Moto(f"http://127.0.0.1:{server.server_port}", app)
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    s3.client.cache_clear()
    journal._stored.clear()
    try:
        client = boto3.client("s3")
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        yield found
    finally:
        s3.client.cache_clear()
        found.fail(lambda method, path: None)
        found.lose(lambda method, path: None)
        urlopen(Request(f"{found.url}/moto-api/reset", method="POST")).close()  # noqa: S310 moto's state outlives the server
        server.shutdown()
        thread.join()
        server.server_close()
