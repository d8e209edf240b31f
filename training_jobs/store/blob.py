"""Azure Blob Storage as a store, for abfs:// URLs. `create` uses If-None-Match, `replace` uses If-Match with the ETag."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...plain_data import PlainDict
from ...problems import Problem
from ..clouds.azure_credentials import default_credential
from ..clouds.azure_errors import client_errors, error_code, service_error, translate_error
from ..errors import UsageError
from .base import MAX_OBJECT_BYTES, ChangedError, ExistsError, UnreadableError, bounded
from .copies import CountedFile, OnSent
from .prefixed import Client, ObjectHead, PrefixedStore

__all__ = ["BlobStore", "client", "drop_clients"]

_HOST = re.compile(r"([a-z0-9]{3,24})\.dfs\.core\.windows\.net")
_CONTAINER = re.compile(r"[a-z0-9](-?[a-z0-9]){2,62}")
_MISSING = {"BlobNotFound", "PathNotFound", "ResourceNotFound"}
_CONDITION_FAILED = {"BlobAlreadyExists", "ConditionNotMet", "PathAlreadyExists", "TargetConditionNotMet", "UnauthorizedBlobOverwrite"}
_WRITER, _DIGEST = "gpuyardwriter", "gpuyardsha256"
_CONNECTIONS = 32
_SCOPE = "https://storage.azure.com/.default"


class BlobStore(PrefixedStore):
    """A container, or a folder in it.

    Raises AuthError, QuotaError or NotFoundError (no such container) if Azure refuses a request, and LostSightError if Azure does not
    answer.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        container, _, host = parts.netloc.partition("@")
        account = _HOST.fullmatch(host)
        if account is None or not _CONTAINER.fullmatch(container) or parts.query or parts.fragment:
            allowed = "abfs://container@account.dfs.core.windows.net or the same with /prefix"
            raise UsageError("the bucket cannot be used", [Problem("url", "not a container", url.split("?")[0], allowed)])
        self._account, self._container = account[1], container
        super().__init__(f"abfs://{parts.netloc}", parts.path)

    def create(self, path: str, data: bytes) -> str:
        """Make one conditional PUT."""
        from azure.core import MatchConditions

        return self._put(path, data, ExistsError, match_condition=MatchConditions.IfMissing)

    def read(self, path: str, most: int = MAX_OBJECT_BYTES) -> tuple[bytes, str] | None:
        """Make one GET. Of an object that is too large, it reads only the first part (32 MiB)."""
        with self._translated(path, "read") as client:
            try:
                answer = client.download_blob(self._key(path))
                if answer.properties.size > most:
                    raise UnreadableError.too_large(f"{self._url}/{self._key(path)}", most)
                return bytes(answer.readall()), str(answer.properties.etag)
            except service_error() as error:
                if _is_missing(error):
                    return None
                raise

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Make one conditional PUT. A deleted object counts as changed."""
        from azure.core import MatchConditions

        return self._put(path, data, ChangedError, etag=tag, match_condition=MatchConditions.IfNotModified)

    def remove(self, path: str) -> None:
        """Make one DELETE."""
        with self._translated(path, "delete") as client:
            try:
                client.get_blob_client(self._key(path)).delete_blob()
            except service_error() as error:
                if not _is_missing(error):
                    raise

    def names(self, folder: str, most: int | None = None) -> list[str]:
        """List one level of a folder, page by page."""
        start = self._folder(folder)
        with self._translated(folder, "list") as client:
            entries = bounded(client.walk_blobs(name_starts_with=start, delimiter="/"), most, f"{self._url}/{start.rstrip('/')}")
            found = {str(entry.name).removeprefix(start).rstrip("/") for entry in entries}
        return sorted(found - {""})  # "" is the object that some tools create for an empty folder

    def _put(self, path: str, data: bytes, lost_race: type[Exception], **condition: Any) -> str:
        """Make a conditional PUT. If another writer was first, raise `lost_race`.

        The client repeats a PUT whose answer was lost. If the first PUT had succeeded, the second PUT fails its condition. A random mark
        in the object's metadata then shows that this writer created it.
        """
        mark, retries = secrets.token_hex(8), []
        with self._translated(path, "write") as client:
            try:
                blob = client.get_blob_client(self._key(path))
                metadata = {_WRITER: mark}
                written = blob.upload_blob(data, metadata=metadata, overwrite=True, retry_hook=lambda **_: retries.append(1), **condition)
                return str(written["etag"])
            except service_error() as error:
                if error_code(error) not in _CONDITION_FAILED and not _is_missing(error):
                    raise
                head = self._head(path) if retries else None
                if head is not None and head.metadata.get(_WRITER) == mark:
                    return str(head.etag)
                raise lost_race(path) from None

    def _head(self, path: str) -> ObjectHead | None:
        with self._translated(path, "read") as client:
            try:
                return client.get_blob_client(self._key(path)).get_blob_properties()
            except service_error() as error:
                if _is_missing(error):
                    return None
                raise

    def _digest(self, head: ObjectHead) -> str | None:
        digest: str | None = head.metadata.get(_DIGEST)
        return digest

    def _upload(self, client: Client, key: str, file: Path, digest: str, on_sent: OnSent) -> None:
        size = file.stat().st_size
        with file.open("rb") as content:
            counted = CountedFile(content, on_sent)
            client.get_blob_client(key).upload_blob(counted, length=size, metadata={_DIGEST: digest}, overwrite=True)

    def _keys(self, client: Client, start: str) -> Iterator[str]:
        entries = client.list_blobs(name_starts_with=start, include=["metadata"])
        return (str(entry.name) for entry in entries if not _is_folder(entry))

    def _copy(self, client: Client, key: str, target: Path) -> bool:
        """Download an object. The client splits a large object into parts."""
        try:
            answer = client.download_blob(key)
        except service_error() as error:
            if _is_missing(error):
                return False
            raise
        with target.open("wb") as file:
            answer.readinto(file)
        return True

    @contextmanager
    def _translated(self, path: str, verb: str) -> Iterator[Client]:
        try:
            yield _container(self._account, self._container)
        except client_errors() as error:
            raise translate_error(error, f"{verb} {self._url}/{self._key(path)}", drop_clients) from None


@functools.cache
def client(account: str) -> Client:
    """Return this process's client of a storage account, with the default credential, never an account key."""
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import BlobServiceClient, ExponentialRetry
    from requests import Session
    from requests.adapters import HTTPAdapter

    session = Session()
    session.mount("https://", HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS))
    transport = RequestsTransport(session=session, session_owner=True, connection_timeout=10, read_timeout=60)
    counts: PlainDict = {f"retry_{kind}": 5 for kind in ("total", "connect", "read", "status")}
    retries = ExponentialRetry(initial_backoff=0, increment_base=2, random_jitter_range=1, **counts)  # a minute in all
    default_credential().get_token(_SCOPE)  # missing credentials fail here at once; the client would retry for a minute
    url = f"https://{account}.blob.core.windows.net"
    return BlobServiceClient(url, credential=default_credential(), transport=transport, retry_policy=retries)


@functools.lru_cache(maxsize=32)
def _container(account: str, name: str) -> Client:
    return client(account).get_container_client(name)


def drop_clients() -> None:
    """Make the next call create new clients and sign in again."""
    _container.cache_clear()
    client.cache_clear()
    default_credential.cache_clear()


def _is_missing(error: Any) -> bool:
    """Return whether an error says that the object does not exist. Returns False for a missing container."""
    return error_code(error) in _MISSING or (error.status_code == 404 and not error_code(error))  # a HEAD has no code


def _is_folder(entry: Any) -> bool:
    """Return whether an entry is a folder. A hierarchical namespace lists a folder as an empty object with a mark in its metadata."""
    return str(entry.name).endswith("/") or (entry.metadata or {}).get("hdi_isfolder") == "true"
