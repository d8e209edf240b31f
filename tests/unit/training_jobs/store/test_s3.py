"""The S3 store: long listings, lost answers, conflicts, errors, unsafe names and renewed credentials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.s3.models import s3_backends

from gpuyard.training_jobs.clouds.aws_errors import translate_error
from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError
from gpuyard.training_jobs.store import ChangedError, ExistsError, S3Store, s3
from tests.fakes.aws.moto_server import SECRET_KEY, Moto, moto


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    with moto(monkeypatch, "runs") as found:
        yield found


@pytest.fixture
def store(server: Moto) -> S3Store:
    return S3Store("s3://runs")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    monkeypatch.setattr(s3, "_pause", lambda turn: None)


def _xml(status: str, code: str, message: str = "the service's message") -> tuple[str, bytes]:
    return status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def test_a_listing_of_many_pages(store: S3Store) -> None:
    inside = s3_backends["123456789012"]["aws"]  # a thousand puts through the API take ten seconds
    for number in range(1003):
        inside.put_object("runs", f"runs/{number:04d}/run.json", b"1")
    assert store.names("runs") == [f"{number:04d}" for number in range(1003)]


def boto3_put(key: str) -> None:
    s3.client().put_object(Bucket="runs", Key=key, Body=b"1")


@pytest.mark.parametrize("method", ["create", "replace"])
def test_a_put_whose_answer_was_lost_is_recognised_as_its_own(server: Moto, store: S3Store, method: str) -> None:
    """The server wrote the object, but the client saw a 503 and repeats the put, which its own object then refuses."""
    tag = store.create("b", b"old")
    lost = iter([_xml("503 Service Unavailable", "ServiceUnavailable")])
    server.lose(lambda method, path: next(lost, None) if method == "PUT" else None)
    found = store.create("a", b"mine") if method == "create" else store.replace("b", b"mine", tag)
    assert store.read("a" if method == "create" else "b") == (b"mine", found)
    assert [method for method, _ in server.calls].count("PUT") == 4  # create the bucket, create "b", and the tested put twice


def test_a_conflict_is_retried_and_then_raises_lost_sight(server: Moto, store: S3Store) -> None:
    answers = iter([_xml("409 Conflict", "ConditionalRequestConflict")] * 2)
    server.fail(lambda method, path: next(answers, None) if method == "PUT" else None)
    store.create("a", b"1")
    server.fail(lambda method, path: _xml("409 Conflict", "ConditionalRequestConflict") if method == "PUT" else None)
    with pytest.raises(LostSightError, match="other writers kept changing it"):
        store.create("b", b"1")


def test_another_writers_object_after_a_conflict_is_a_lost_race(server: Moto, store: S3Store) -> None:
    boto3_put("a")
    answers = iter([_xml("409 Conflict", "ConditionalRequestConflict")])
    server.fail(lambda method, path: next(answers, None) if method == "PUT" else None)
    with pytest.raises(ExistsError):
        store.create("a", b"1")
    with pytest.raises(ChangedError):
        store.replace("gone", b"1", '"tag"')


def test_temporary_faults_are_retried(server: Moto, store: S3Store) -> None:
    answers = iter([_xml("503 Slow Down", "SlowDown")] * 3 + [_xml("500 Internal Server Error", "InternalError")] * 2)
    server.fail(lambda method, path: next(answers, None))
    tag = store.create("a", b"1")
    assert store.read("a") == (b"1", tag)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (_xml("403 Forbidden", "AccessDenied"), AuthError, "not permitted"),
        (_xml("400 Bad Request", "ExpiredToken"), AuthError, "expired"),
        (
            _xml("403 Forbidden", "SignatureDoesNotMatch", "It differs.\nWe signed x-amz-security-token:SECRET"),
            AuthError,
            "SignatureDoesNotMatch",
        ),
        (_xml("404 Not Found", "NoSuchBucket"), NotFoundError, "NoSuchBucket"),
        (_xml("503 Slow Down", "SlowDown"), LostSightError, "at present"),
        (_xml("400 Bad Request", "QuotaExceeded"), QuotaError, "Service Quotas"),
        (_xml("400 Bad Request", "InvalidArgument"), UsageError, "InvalidArgument"),
    ],
)
def test_a_refusal_becomes_a_gpuyard_error(
    server: Moto, store: S3Store, answer: tuple[str, bytes], error: type[GpuyardError], message: str
) -> None:
    server.fail(lambda method, path: answer)
    for act in (lambda: store.create("a", b"1"), lambda: store.read("a"), lambda: store.names("a")):
        with pytest.raises(error, match=message) as refused:
            act()
        assert "s3://runs/a" in str(refused.value)
        assert "SECRET" not in str(refused.value)
        assert SECRET_KEY not in str(refused.value)


def test_an_unreachable_server_raises_lost_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto(monkeypatch, "runs") as server:
        url = server.url
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    s3.client.cache_clear()
    with pytest.raises(LostSightError, match="at present"):
        S3Store("s3://runs").read("a")
    s3.client.cache_clear()


def test_missing_credentials_are_an_auth_error(server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3.client.cache_clear()
    with pytest.raises(AuthError, match="no usable AWS credentials"):
        S3Store("s3://runs").read("a")


def test_renewed_credentials_are_used(server: Moto, store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user signs in again during a wait: the next call reads the credentials again."""
    server.fail(lambda method, path: _xml("400 Bad Request", "ExpiredToken"))
    before = s3.client()
    with pytest.raises(AuthError):
        store.read("a")
    server.fail(lambda method, path: None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIARENEWED000000000")
    assert store.read("a") is None
    assert s3.client() is not before
    assert s3.client()._request_signer._credentials.access_key == "AKIARENEWED000000000"


@pytest.mark.parametrize("key", ["run/../../outside", "run//etc/passwd"])
def test_a_name_that_would_leave_the_folder_is_left_out(store: S3Store, tmp_path: Path, key: str) -> None:
    boto3_put(key)
    left_out: list[str] = []
    assert store.download("run", tmp_path / "a/b/into", left_out.append) == []
    assert left_out[0].endswith(": its name leads out of the folder")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("url", ["s3:///path", "s3://", "s3://user:pw@bucket", "s3://bucket?versionId=1"])
def test_a_url_that_is_not_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not a bucket"):
        S3Store(url)


def test_a_missing_bucket_is_not_found(server: Moto) -> None:
    with pytest.raises(NotFoundError, match="s3://elsewhere"):
        S3Store("s3://elsewhere").create("a", b"1")
    boto3.client("s3").create_bucket(Bucket="elsewhere")
    S3Store("s3://elsewhere").create("a", b"1")


def test_a_signed_url_in_an_error_loses_its_signature() -> None:
    from botocore.exceptions import EndpointConnectionError

    error = translate_error(EndpointConnectionError(endpoint_url="https://s3/x?X-Amz-Signature=abc"), "read s3://a/b")
    assert "X-Amz-Signature" not in str(error)
