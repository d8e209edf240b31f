"""The Google Cloud Storage store: long listings, lost answers, errors, unsafe names, expired and renewed credentials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError
from gpuyard.training_jobs.store import ChangedError, ExistsError, GcsStore, gcs
from tests.fakes.gcp.cloud_storage import FakeStorage
from tests.fakes.gcp.http_service import Call, Fault
from tests.fakes.gcp.workload_identity import SUBJECT_TOKEN, FakeTokenExchange
from tests.helpers.gcs_bucket import drop_cached_clients, storage


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStorage]:
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", lambda _: None)
    with storage(monkeypatch, "runs") as found:
        yield found


@pytest.fixture
def store(server: FakeStorage) -> GcsStore:
    return GcsStore("gs://runs")


def writes(call: Call) -> bool:
    return call.method in {"POST", "PUT"}


def test_a_listing_of_many_pages(server: FakeStorage, store: GcsStore) -> None:
    for number in range(1003):
        server.put("runs", f"runs/{number:04d}/run.json", b"1")
    assert store.names("runs") == [f"{number:04d}" for number in range(1003)]
    assert len(server.calls) == 2


@pytest.mark.parametrize("method", ["create", "replace"])
@pytest.mark.parametrize("big", [False, True], ids=["in one request", "resumable"])
def test_an_upload_whose_answer_was_lost_is_recognised_as_its_own(server: FakeStorage, store: GcsStore, method: str, big: bool) -> None:
    """The server wrote the object, but the client got no answer and repeats the upload, which its own object then refuses."""
    data = b"mine" * (3_000_000 if big else 1)
    tag = store.create("b", b"old")
    server.fail(Fault(lost=True), when=(lambda call: call.method == "PUT") if big else writes)
    found = store.create("a", data) if method == "create" else store.replace("b", data, tag)
    assert store.read("a" if method == "create" else "b", len(data)) == (data, found)


def test_another_writers_object_is_a_lost_race(server: FakeStorage, store: GcsStore) -> None:
    tag = store.create("a", b"theirs")
    with pytest.raises(ExistsError):
        store.create("a", b"mine")
    server.fail(Fault(503, "backendError"), when=writes, times=2)
    with pytest.raises(ExistsError):
        store.create("a", b"mine")
    store.replace("a", b"theirs again", tag)
    for stale in (tag, "no generation"):
        with pytest.raises(ChangedError):
            store.replace("a", b"mine", stale)


def test_temporary_faults_are_retried(server: FakeStorage, store: GcsStore) -> None:
    server.fail(Fault(429, "rateLimitExceeded"), times=3)
    tag = store.create("a", b"1")
    server.fail(Fault(503, "backendError"), times=2)
    assert store.read("a") == (b"1", tag)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault(403, "forbidden", "nightly@acme does not have storage.objects.create access"), AuthError, "not permitted"),
        (Fault(401, "authError", "Invalid Credentials"), AuthError, "no usable Google credentials"),
        (Fault(404, "notFound", "The specified bucket does not exist."), NotFoundError, "bucket does not exist"),
        (Fault(503, "backendError"), LostSightError, "at present"),
        (Fault(429, "rateLimitExceeded"), LostSightError, "at present"),
        (Fault(403, "quotaExceeded", "The project exceeds quota"), QuotaError, "quota"),
        (Fault(400, "invalid", "Invalid argument"), UsageError, "Invalid argument"),
    ],
)
def test_a_refusal_becomes_a_gpuyard_error(
    server: FakeStorage, store: GcsStore, fault: Fault, error: type[GpuyardError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.storage.retry import DEFAULT_RETRY

    monkeypatch.setattr(gcs, "_retry", lambda: DEFAULT_RETRY.with_timeout(0.2))
    server.fail(fault, times=100_000)
    for act in (lambda: store.create("a", b"1"), lambda: store.read("a"), lambda: store.names("a")):
        with pytest.raises(error, match=message) as refused:
            act()
        assert "gs://runs/a" in str(refused.value)


def test_an_unreachable_server_raises_lost_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.storage.retry import DEFAULT_RETRY

    monkeypatch.setattr(gcs, "_retry", lambda: DEFAULT_RETRY.with_timeout(0.2))
    with storage(monkeypatch, "runs") as server:
        url = server.url
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    with pytest.raises(LostSightError, match="at present"):
        GcsStore("gs://runs").read("a")
    drop_cached_clients()


def test_missing_credentials_are_an_auth_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    drop_cached_clients()
    with pytest.raises(AuthError, match="no usable Google credentials"):
        GcsStore("gs://runs").read("a")


def test_expired_credentials_are_reported_and_renewed_credentials_are_used(
    server: FakeStorage, store: GcsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline's token expires during a wait: the next call exchanges it again, or reports that it cannot."""
    with FakeTokenExchange() as tokens:
        server.accepts = tokens.is_valid
        for name, value in tokens.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        drop_cached_clients()
        tag = store.create("a", b"1")
        tokens.revoke()
        assert store.read("a") == (b"1", tag)
        tokens.revoke()
        tokens.refuses = True
        with pytest.raises(AuthError, match="credentials have expired") as refused:
            store.read("a")
        assert SUBJECT_TOKEN not in str(refused.value)
        tokens.refuses = False
        assert store.read("a") == (b"1", tag)


@pytest.mark.parametrize("name", ["run/../../outside", "run//etc/passwd"])
def test_a_name_that_would_leave_the_folder_is_left_out(server: FakeStorage, store: GcsStore, tmp_path: Path, name: str) -> None:
    server.put("runs", name, b"1")
    left_out: list[str] = []
    assert store.download("run", tmp_path / "a/b/into", left_out.append) == []
    assert left_out[0].endswith(": its name leads out of the folder")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("url", ["gs:///path", "gs://", "gs://user:pw@bucket", "gs://bucket?generation=1"])
def test_a_url_that_is_not_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not a bucket"):
        GcsStore(url)


def test_a_missing_bucket_is_not_found(server: FakeStorage) -> None:
    store = GcsStore("gs://elsewhere")
    for act in (lambda: store.create("a", b"1"), lambda: store.read("a"), lambda: store.names("a")):
        with pytest.raises(NotFoundError, match="gs://elsewhere"):
            act()
