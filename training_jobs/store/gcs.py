"""Google Cloud Storage as a store, for gs:// URLs. `create` requires generation 0. `replace` requires the generation that was read."""

from __future__ import annotations

import functools
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..clouds.gcp_credentials import default_credentials
from ..clouds.gcp_errors import client_errors, error_kind, translate_error
from .base import MAX_OBJECT_BYTES, ChangedError, ExistsError, UnreadableError, require_at_most
from .copies import CountedFile, OnSent
from .prefixed import Client, ObjectHead, PrefixedStore, bucket_and_prefix

__all__ = ["GcsStore", "client", "drop_client"]

_WRITER, _DIGEST = "gpuyard-writer", "gpuyard-sha256"
_TIMEOUT_S = (10, 60)  # seconds to connect, and to wait for the answer
_GIVE_UP_S = 60.0
_NO_BUCKET = "bucket does not exist"  # a missing object and a missing bucket have the same code
_CONNECTIONS = 32
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


class GcsStore(PrefixedStore):
    """A bucket, or a folder in it.

    Raises AuthError, QuotaError or NotFoundError (no such bucket) if GCS refuses a request, and LostSightError if GCS does not answer.
    """

    def __init__(self, url: str) -> None:
        self._bucket, prefix = bucket_and_prefix(url)
        super().__init__(f"gs://{self._bucket}", prefix)

    def create(self, path: str, data: bytes) -> str:
        """Make one conditional upload."""
        return self._put(path, data, ExistsError, 0)

    def read(self, path: str, most: int = MAX_OBJECT_BYTES) -> tuple[bytes, str] | None:
        """Make one download. The response contains the generation."""
        with self._translated(path, "read") as client:
            blob = client.bucket(self._bucket).blob(self._key(path))
            content = _Bounded(f"{self._url}/{self._key(path)}", most)
            try:
                blob.download_to_file(content, timeout=_TIMEOUT_S, retry=_retry())
            except client_errors() as error:
                if _is_missing(error):
                    return None
                raise
        return content.getvalue(), str(blob.generation)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Make one conditional upload. A deleted object counts as changed."""
        return self._put(path, data, ChangedError, int(tag) if tag.isdigit() else -1)

    def remove(self, path: str) -> None:
        """Make one DELETE."""
        with self._translated(path, "delete") as client:
            try:
                client.bucket(self._bucket).blob(self._key(path)).delete(timeout=_TIMEOUT_S, retry=_retry())
            except client_errors() as error:
                if not _is_missing(error):
                    raise

    def names(self, folder: str, most: int | None = None) -> list[str]:
        """List one level of a folder, page by page."""
        start = self._folder(folder)
        found: set[str] = set()
        with self._translated(folder, "list") as client:
            listing = self._list(client, start, delimiter="/", fields="items(name),prefixes,nextPageToken")
            for page in listing.pages:
                found |= {blob.name.removeprefix(start) for blob in page}
                found |= {prefix.removeprefix(start).rstrip("/") for prefix in listing.prefixes}
                require_at_most(most, len(found), f"{self._url}/{start.rstrip('/')}")
        return sorted(found - {""})  # "" is the object that consoles create for an empty folder

    def _list(self, client: Client, prefix: str, **options: str) -> Any:
        """Return an iterator over the objects whose names begin with `prefix`."""
        return client.list_blobs(self._bucket, prefix=prefix, timeout=_TIMEOUT_S, retry=_retry(), **options)

    def _put(self, path: str, data: bytes, lost_race: type[Exception], generation: int) -> str:
        """Make a conditional upload. If another writer was first, raise `lost_race`.

        The client repeats an upload whose answer was lost. If the first upload had succeeded, the second upload fails its condition. A
        random mark in the object's metadata then shows that this writer created it.
        """
        mark = secrets.token_hex(8)
        with self._translated(path, "write") as client:
            blob = client.bucket(self._bucket).blob(self._key(path))
            blob.metadata = {_WRITER: mark}
            try:
                if generation < 0:
                    raise lost_race(path)
                blob.upload_from_string(data, if_generation_match=generation, timeout=_TIMEOUT_S, retry=_retry())
            except client_errors() as error:
                if error_kind(error) != "changed" and not _is_missing(error):
                    raise
                head = self._head(path)
                if head is not None and (head.metadata or {}).get(_WRITER) == mark:
                    return str(head.generation)
                raise lost_race(path) from None
            return str(blob.generation)

    def _head(self, path: str) -> ObjectHead | None:
        with self._translated(path, "read") as client:
            return client.bucket(self._bucket).get_blob(self._key(path), timeout=_TIMEOUT_S, retry=_retry())

    def _digest(self, head: ObjectHead) -> str | None:
        return (head.metadata or {}).get(_DIGEST)

    def _upload(self, client: Client, key: str, file: Path, digest: str, on_sent: OnSent) -> None:
        blob = client.bucket(self._bucket).blob(key)
        blob.metadata = {_DIGEST: digest}
        with file.open("rb") as content:
            size = file.stat().st_size
            blob.upload_from_file(CountedFile(content, on_sent), size=size, timeout=_TIMEOUT_S, retry=_retry())

    def _keys(self, client: Client, start: str) -> Iterator[str]:
        blobs = self._list(client, start, fields="items(name),nextPageToken")
        return (str(blob.name) for blob in blobs if not blob.name.endswith("/"))

    def _copy(self, client: Client, key: str, target: Path) -> bool:
        try:
            client.bucket(self._bucket).blob(key).download_to_filename(str(target), timeout=_TIMEOUT_S, retry=_retry())
        except client_errors() as error:
            if _is_missing(error):
                return False
            raise
        return True

    @contextmanager
    def _translated(self, path: str, verb: str) -> Iterator[Client]:
        try:
            yield client()
        except client_errors() as error:
            raise translate_error(error, f"{verb} {self._url}/{self._key(path)}", drop_client) from None


class _Bounded(io.BytesIO):
    """A download in memory that raises UnreadableError when it becomes too large."""

    def __init__(self, place: str, most: int) -> None:
        super().__init__()
        self._place, self._most = place, most

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._most:
            raise UnreadableError.too_large(self._place, self._most)
        return super().write(data)


@functools.cache
def client() -> Client:
    """Return this process's client of Cloud Storage, with Google's own search for credentials and endpoint."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client as StorageClient
    from requests.adapters import HTTPAdapter

    anonymous = "STORAGE_EMULATOR_HOST" in os.environ and "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ
    anonymous_credentials: Any = AnonymousCredentials  # google.auth has types for only some of its names
    credentials = anonymous_credentials() if anonymous else default_credentials(_SCOPE)
    created = StorageClient(project=None, credentials=credentials)
    created._bucket_metadata_cache = None  # otherwise it reads the bucket's metadata, only to name the bucket in traces
    for scheme in ("https://", "http://"):
        created._http.mount(scheme, HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS))
    created._http.hooks["response"].append(_read_error_body)
    return created


def _read_error_body(response: Any, **_: Any) -> None:
    """Read the body of a refused download, so that the connection can be reused. The client itself leaves it unread."""
    if response.status_code >= 400:
        response.content  # noqa: B018 reading it releases the connection


def drop_client() -> None:
    """Make the next call create a new client, which reads credentials and endpoint again."""
    if client.cache_info().currsize:
        client().close()
        client.cache_clear()


@functools.cache
def _retry() -> Any:
    """Return the retry policy of all calls. They are safe to repeat, because every upload is conditional."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(_GIVE_UP_S)


def _is_missing(error: BaseException) -> bool:
    """Return whether an error says that the object does not exist. Returns False for a missing bucket."""
    return error_kind(error) == "missing" and _NO_BUCKET not in str(error)
