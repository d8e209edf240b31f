"""Errors of each cloud's client in a node: retried, then OSErrors with the cause, and exit 74."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from google.auth.exceptions import DefaultCredentialsError, TransportError

from gpuyard.training_jobs.launch import __main__ as launch
from gpuyard.training_jobs.launch import objects, storage
from gpuyard.training_jobs.launch.storage import RetryingFilesystem, StorageUnreachableError
from gpuyard.training_jobs.train.shards import open_filesystem, read_index

_credentials: Any = DefaultCredentialsError  # google.auth has types for only some of its names
_transport: Any = TransportError
ERRORS: list[Callable[[], Exception]] = [
    lambda: EndpointConnectionError(endpoint_url="https://s3.invalid/?X-Amz-Signature=abc"),
    NoCredentialsError,
    lambda: _credentials("no credentials"),
    lambda: _transport("no route"),
    lambda: ServiceRequestError("no address"),
    lambda: ClientAuthenticationError("no token"),
    lambda: OSError(5, "busy"),
]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_PAUSES_S", (0.0, 0.0))


class Failing:
    """A file system whose calls fail as scripted, then answer."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def cat_file(self, path: str) -> bytes:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return b"{}"


@pytest.mark.parametrize("make", ERRORS, ids=lambda make: type(make()).__name__)
def test_a_passing_error_is_retried_and_a_lasting_one_is_an_os_error(make: Callable[[], Exception]) -> None:
    assert RetryingFilesystem(Failing(make(), make())).cat_file("x") == b"{}"
    lasting = Failing(*(make() for _ in range(9)))
    with pytest.raises(StorageUnreachableError, match=type(make()).__name__) as caught:
        RetryingFilesystem(lasting).cat_file("x")
    assert isinstance(caught.value, OSError)
    assert caught.value.__cause__ is not None
    assert lasting.calls == 3
    assert "Signature" not in str(caught.value)


@pytest.mark.parametrize("error", [FileNotFoundError("x"), PermissionError("x"), FileExistsError("x"), TypeError("an old package")])
def test_an_error_that_a_retry_cannot_change_is_raised_at_once(error: Exception) -> None:
    failing = Failing(error)
    with pytest.raises(type(error)):
        RetryingFilesystem(failing).cat_file("x")
    assert failing.calls == 1


@pytest.fixture(params=ERRORS, ids=lambda make: type(make()).__name__)
def outage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call of the file system of memory:// fail."""

    def fail(*_: Any, **__: Any) -> None:
        raise request.param()

    for name in ("cat_file", "ls", "pipe_file", "info", "get_file", "put_file", "rm_file"):
        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), name, fail)


@pytest.mark.usefixtures("outage")
def test_launch_and_the_trainer_have_one_translation(tmp_path: Path) -> None:
    for act in (
        lambda: objects.read("memory://runs/a"),
        lambda: objects.list_names("memory://runs"),
        lambda: objects.write("memory://runs/a", b"1"),
        lambda: objects.create("memory://runs/a", b"1"),
        lambda: objects.download("memory://runs/a", tmp_path / "a"),
        lambda: open_filesystem("memory://runs")[0].cat_file("a"),
        lambda: read_index("memory://data"),
    ):
        with pytest.raises(OSError):  # noqa: PT011 each cause has its own words
            act()


@pytest.mark.usefixtures("outage")
def test_a_node_without_storage_exits_with_74(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    variables = {"SERVICE": "local", "RUN_ID": "job-1", "RUN_URL": "memory://runs/gpuyard/runs/job-1", "SUBMISSION": "0", "NODE_RANK": "0"}
    variables |= {
        "RECORD_URL": "memory://runs/gpuyard/submissions/job-1/run.json",
        "JOB_DIGEST": "0" * 64,
        "NUM_NODES": "1",
        "MAIN_ADDRESS": "127.0.0.1",
        "NODE_ADDRESS": "127.0.0.1",
        "PORT": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"GPUYARD_{name}", value)
    assert launch._run_node() == 74
    assert "memory://runs/gpuyard/submissions/job-1" in capsys.readouterr().err
