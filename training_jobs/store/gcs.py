"""Google Cloud Storage as a store, for gs:// URLs: a generation of 0 makes `create` happen once, the one that was read guards `replace`."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..clouds.gcp_credentials import credentials
from ..clouds.gcp_errors import client_errors, error_kind, translate_error
from .base import ChangedError, ExistsError
from .prefixed import PrefixedStore, bucket_of

_WRITER = "gpuyard-writer"
_TIMEOUT_S = (10, 60)  # to connect, and for the answer
_GIVE_UP_S = 60.0
_NO_BUCKET = "bucket does not exist"  # the object and the bucket are missing with the same code
_CONNECTIONS = 32
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


class GcsStore(PrefixedStore):
    """One bucket, or what lies below a prefix of one.

    Raises AuthError, QuotaError and NotFoundError (no such bucket) for what GCS refuses, LostSightError while it cannot be asked.
    """

    def __init__(self, url: str) -> None:
        self._bucket, path = bucket_of(url)
        super().__init__(f"gs://{self._bucket}", path)

    def create(self, path: str, data: bytes) -> str:
        """One conditional upload."""
        return self._put(path, data, ExistsError, 0)

    def read(self, path: str) -> tuple[bytes, str] | None:
        """One download; its answer names the generation."""
        with self._plain(path, "read") as client:
            blob = client.bucket(self._bucket).blob(self._key(path))
            try:
                data = bytes(blob.download_as_bytes(timeout=_TIMEOUT_S, retry=_patience()))
            except client_errors() as error:
                if _is_missing(error):
                    return None
                raise
        return data, str(blob.generation)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """One conditional upload; an object that is gone has changed too."""
        return self._put(path, data, ChangedError, int(tag) if tag.isdigit() else -1)

    def names(self, folder: str) -> list[str]:
        """One level of a listing, page by page."""
        start = self._folder(folder)
        found: set[str] = set()
        with self._plain(folder, "list") as client:
            listing = self._list(client, start, delimiter="/", fields="items(name),prefixes,nextPageToken")
            for page in listing.pages:
                found |= {blob.name.removeprefix(start) for blob in page}
            found |= {prefix.removeprefix(start).rstrip("/") for prefix in listing.prefixes}
        return sorted(found - {""})  # "" is the mark that consoles leave for an empty folder

    def _list(self, client: Any, prefix: str, **how: Any) -> Any:
        return client.list_blobs(self._bucket, prefix=prefix, timeout=_TIMEOUT_S, retry=_patience(), **how)

    def _put(self, path: str, data: bytes, beaten: type[Exception], generation: int) -> str:
        """An upload that only one of many wins.

        The client repeats an upload whose answer was lost, and then meets its own object: the writer's mark in the object's
        metadata tells that from somebody else's.
        """
        mark = secrets.token_hex(8)
        with self._plain(path, "write") as client:
            blob = client.bucket(self._bucket).blob(self._key(path))
            blob.metadata = {_WRITER: mark}
            try:
                if generation < 0:
                    raise beaten(path)
                blob.upload_from_string(data, if_generation_match=generation, timeout=_TIMEOUT_S, retry=_patience())
            except client_errors() as error:
                if error_kind(error) != "beaten" and not _is_missing(error):
                    raise
                there = self._head(path)
                if there is not None and (there.metadata or {}).get(_WRITER) == mark:
                    return str(there.generation)
                raise beaten(path) from None
            return str(blob.generation)

    def _head(self, path: str) -> Any:
        """The object without its content; None when there is none."""
        with self._plain(path, "read") as client:
            return client.bucket(self._bucket).get_blob(self._key(path), timeout=_TIMEOUT_S, retry=_patience())

    def _keys(self, client: Any, start: str) -> list[str]:
        blobs = self._list(client, start, fields="items(name),nextPageToken")
        return [str(blob.name) for blob in blobs if not blob.name.endswith("/")]

    def _copy(self, client: Any, key: str, target: Path) -> bool:
        try:
            client.bucket(self._bucket).blob(key).download_to_filename(str(target), timeout=_TIMEOUT_S, retry=_patience())
        except client_errors() as error:
            if _is_missing(error):
                return False
            raise
        return True

    @contextmanager
    def _plain(self, path: str, verb: str) -> Iterator[Any]:
        """The client; what it raises inside, in words and with an exit code."""
        what = f"{verb} {self._url}/{self._key(path)}"
        try:
            yield client()
        except client_errors() as error:
            raise translate_error(error, what, forget=forget) from None


@functools.cache
def client() -> Any:
    """Google's ordinary client, one for the process: its credentials and endpoint come from where everybody's do."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client
    from requests.adapters import HTTPAdapter

    open_to_all = "STORAGE_EMULATOR_HOST" in os.environ and "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ
    anybody: Any = AnonymousCredentials  # google.auth has types for some of it
    known = anybody() if open_to_all else credentials(_SCOPE)
    made = Client(project=None, credentials=known)
    made._bucket_metadata_cache = None  # else it asks for the bucket behind our back, to name it in traces that nobody takes
    for scheme in ("https://", "http://"):
        made._http.mount(scheme, HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS))
    made._http.hooks["response"].append(_read_refusal)
    return made


def _read_refusal(response: Any, **_: Any) -> None:
    """The client leaves the body of a download that was refused unread, and its connection unused for good."""
    if response.status_code >= 400:
        response.content  # noqa: B018 reading it gives the connection back


def forget() -> None:
    """Let the next call make a client of its own: it reads credentials and endpoint anew."""
    if client.cache_info().currsize:
        client().close()
        client.cache_clear()


@functools.cache
def _patience() -> Any:
    """Every upload here is conditional and so safe to repeat."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(_GIVE_UP_S)


def _is_missing(error: BaseException) -> bool:
    return error_kind(error) == "missing" and _NO_BUCKET not in str(error)
