"""The Azure Blob store: long listings, lost answers, errors, unsafe names, hierarchical folders and renewed credentials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.clouds.azure_errors import translate_error
from gpuyard.training_jobs.errors import AuthError, GpuyardError, LostSightError, NotFoundError, QuotaError, UsageError
from gpuyard.training_jobs.store import BlobStore, ChangedError, ExistsError, blob, open_store, read_url
from tests.fakes.azure.azurite import ACCOUNT
from tests.fakes.azure.blob_storage import Storage, storage
from tests.fakes.azure.entra import CLIENT, SIGNATURE, SUBJECT_TOKEN, claims_of
from tests.fakes.azure.https_service import Answer


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    with storage(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def store(account: Storage) -> BlobStore:
    return BlobStore(account.url)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.storage.blob._shared.policies.StorageRetryPolicy.sleep", lambda *_: None)


def error_answer(status: int, code: str, message: str = "the service's message") -> Answer:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
    return Answer(status, body, {"Content-Type": "application/xml", "x-ms-error-code": code})


def test_calls_use_the_pipelines_identity_and_no_account_key(account: Storage, store: BlobStore) -> None:
    store.create("a", b"1")
    assert account.front.calls
    assert {str(claims_of(call.headers)["appid"]) for call in account.front.calls} == {CLIENT}
    assert account.proxy.refused == []
    assert read_url(f"{account.url}/a") == b"1"
    assert isinstance(open_store(account.url), BlobStore)


def test_a_listing_of_many_pages(account: Storage, store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        store.create(f"runs/{number:02d}/run.json", b"1")
    real = account.client().__class__.walk_blobs
    monkeypatch.setattr("azure.storage.blob.ContainerClient.walk_blobs", lambda *a, **k: real(*a, results_per_page=5, **k))
    before = len(account.front.calls)
    assert store.names("runs") == [f"{number:02d}" for number in range(12)]
    assert len(account.front.calls) - before == 3


@pytest.mark.parametrize("method", ["create", "replace"])
@pytest.mark.parametrize("answer", [error_answer(503, "ServerBusy"), error_answer(500, "OperationTimedOut")], ids=["503", "500"])
def test_a_put_whose_answer_was_lost_is_recognised_as_its_own(account: Storage, store: BlobStore, method: str, answer: Answer) -> None:
    """The server wrote the object, but the client saw an error and repeats the put, which its own object then refuses."""
    tag = store.create("b", b"old")
    lost = iter([answer])
    account.front.loss = lambda verb, path: next(lost, None) if verb == "PUT" else None
    found = store.create("a", b"mine") if method == "create" else store.replace("b", b"mine", tag)
    assert store.read("a" if method == "create" else "b") == (b"mine", found)
    assert [call.operation for call in account.front.calls].count("PUT") == 3


def test_another_writers_object_after_a_lost_call_is_a_lost_race(account: Storage, store: BlobStore) -> None:
    account.client().upload_blob("a", b"1")
    answers = iter([error_answer(503, "ServerBusy")] * 2)
    account.front.fault = lambda verb, path: next(answers, None) if verb == "PUT" else None
    with pytest.raises(ExistsError):
        store.create("a", b"1")
    with pytest.raises(ChangedError):
        store.replace("gone", b"1", '"0x8D0"')


def test_temporary_faults_are_retried(account: Storage, store: BlobStore) -> None:
    answers = iter([error_answer(503, "ServerBusy")] * 3 + [error_answer(500, "InternalError")] * 2)
    account.front.fault = lambda verb, path: next(answers, None)
    tag = store.create("a", b"1")
    assert store.read("a") == (b"1", tag)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (error_answer(403, "AuthorizationPermissionMismatch"), AuthError, "not permitted"),
        (error_answer(403, "KeyBasedAuthenticationNotPermitted"), AuthError, "not permitted"),
        (
            error_answer(401, "InvalidAuthenticationInfo", "Lifetime validation failed. The token is expired."),
            AuthError,
            "InvalidAuthenticationInfo",
        ),
        (error_answer(404, "ContainerNotFound"), NotFoundError, "ContainerNotFound"),
        (error_answer(503, "ServerBusy"), LostSightError, "at present"),
        (error_answer(409, "AccountLimitExceeded"), QuotaError, "Quotas"),
        (error_answer(400, "InvalidHeaderValue", "see https://x/?sig=SECRET"), UsageError, "InvalidHeaderValue"),
    ],
    ids=lambda value: value.headers["x-ms-error-code"] if isinstance(value, Answer) else None,
)
def test_a_refusal_becomes_a_gpuyard_error(
    account: Storage, store: BlobStore, answer: Answer, error: type[GpuyardError], message: str
) -> None:
    account.front.fault = lambda verb, path: answer
    for act in (lambda: store.create("a", b"1"), lambda: store.read("a"), lambda: store.names("a"), lambda: store.exists("a")):
        with pytest.raises(error, match=message) as refused:
            act()
        assert f"{account.url}/a" in str(refused.value)
        assert not [secret for secret in ("SECRET", SIGNATURE, SUBJECT_TOKEN) if secret in str(refused.value)]


def test_an_unreachable_server_raises_lost_sight(account: Storage, store: BlobStore) -> None:
    account.proxy.routes[".blob.core.windows.net"] = 1
    blob.drop_clients()
    with pytest.raises(LostSightError, match="at present"):
        store.read("a")


def test_missing_credentials_are_an_auth_error(account: Storage, store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "WorkloadIdentityCredential")
    blob.drop_clients()
    with pytest.raises(AuthError, match="no usable Azure credentials"):
        store.read("a")


def test_a_refused_token_is_an_auth_error_until_the_user_signs_in_again(account: Storage, store: BlobStore) -> None:
    """A user signs in again during a wait: the next call creates a new credential."""
    account.entra.closed = True
    blob.drop_clients()
    with pytest.raises(AuthError, match="no usable Azure credentials") as refused:
        store.read("a")
    assert SUBJECT_TOKEN not in str(refused.value)
    account.entra.closed = False
    assert store.read("a") is None


@pytest.mark.parametrize("key", ["run/../../outside", "run//etc/passwd"])
def test_a_name_that_would_leave_the_folder_is_left_out(
    account: Storage, store: BlobStore, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        name, metadata = key, None

    monkeypatch.setattr("azure.storage.blob.ContainerClient.list_blobs", lambda *_, **__: [Entry])
    left_out: list[str] = []
    assert store.download("run", tmp_path / "a/b/into", left_out.append) == []
    assert left_out[0].endswith(": its name leads out of the folder")
    assert not (tmp_path / "a").exists()


def test_folders_of_a_hierarchical_namespace_are_not_objects(account: Storage, store: BlobStore, tmp_path: Path) -> None:
    account.client().upload_blob("run/deep", b"", metadata={"hdi_isfolder": "true"})
    store.create("run/deep/a", b"1")
    assert store.names("run") == ["deep"]
    assert store.download("run", tmp_path / "into") == ["deep/a"]


@pytest.mark.parametrize(
    "url",
    [
        "abfs://", "abfs://runs", "abfs://runs@account", "abfs://runs@account.blob.core.windows.net", "abfs://Runs@account.dfs.core.windows.net",
        "abfs://@account.dfs.core.windows.net", "abfs://runs@account.dfs.core.windows.net.evil.io",
        "abfs://runs@account.dfs.core.windows.net?sig=SECRET",
    ],
)  # fmt: skip
def test_a_url_that_is_not_a_container_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not a container") as refused:
        BlobStore(url)
    assert "SECRET" not in str(refused.value)


def test_a_missing_container_is_not_found(account: Storage) -> None:
    with pytest.raises(NotFoundError, match="abfs://elsewhere@"):
        BlobStore(f"abfs://elsewhere@{ACCOUNT}.dfs.core.windows.net").create("a", b"1")


def test_a_signed_url_in_an_error_loses_its_signature() -> None:
    from azure.core.exceptions import ServiceResponseError

    error = translate_error(ServiceResponseError("GET https://a/x?sv=1&sig=abc failed"), "read abfs://a/b")
    assert "sig=" not in str(error)


@pytest.mark.parametrize(
    ("code", "fix"), [("AuthorizationFailure", "a machine in the account's own region"), ("AuthorizationPermissionMismatch", "sign in as")]
)
def test_a_refusal_of_the_accounts_network_rules_names_the_region(code: str, fix: str) -> None:
    from azure.core.exceptions import HttpResponseError

    error = HttpResponseError("This request is not authorized to perform this operation.")
    error.status_code, error.error_code = 403, code  # type: ignore[attr-defined]
    assert fix in str(translate_error(error, "read abfs://a/b"))
