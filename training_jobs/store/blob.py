"""Azure Blob Storage as a store, for abfs:// URLs: If-None-Match makes `create` happen once, If-Match on the ETag guards `replace`."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...problems import Problem
from ..clouds.azure_credentials import credential
from ..clouds.azure_errors import client_errors, error_code, service_error, translate_error
from ..errors import UsageError
from .base import ChangedError, ExistsError
from .prefixed import PrefixedStore

_HOST = re.compile(r"([a-z0-9]{3,24})\.dfs\.core\.windows\.net")
_CONTAINER = re.compile(r"[a-z0-9](-?[a-z0-9]){2,62}")
_MISSING = {"BlobNotFound", "PathNotFound", "ResourceNotFound"}
_BEATEN = {"BlobAlreadyExists", "ConditionNotMet", "PathAlreadyExists", "TargetConditionNotMet", "UnauthorizedBlobOverwrite"}
_WRITER = "gpuyardwriter"
_CONNECTIONS = 32
_SCOPE = "https://storage.azure.com/.default"


class BlobStore(PrefixedStore):
    """One container, or what lies below a prefix of one.

    Raises AuthError, QuotaError and NotFoundError (no such container) for what Azure refuses, LostSightError while it cannot be asked.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        container, _, host = parts.netloc.partition("@")
        account = _HOST.fullmatch(host)
        if account is None or not _CONTAINER.fullmatch(container) or parts.query or parts.fragment:
            allowed = "abfs://container@account.dfs.core.windows.net or the same with /prefix"
            raise UsageError("the bucket cannot be used", [Problem("url", "is no container", url.split("?")[0], allowed)])
        self._account, self._container = account[1], container
        super().__init__(f"abfs://{parts.netloc}", parts.path)

    def create(self, path: str, data: bytes) -> str:
        """One conditional put."""
        from azure.core import MatchConditions

        return self._put(path, data, ExistsError, match_condition=MatchConditions.IfMissing)

    def read(self, path: str) -> tuple[bytes, str] | None:
        """One get."""
        with self._plain(path, "read") as client:
            try:
                answer = client.download_blob(self._key(path))
                return bytes(answer.readall()), str(answer.properties.etag)
            except service_error() as error:
                if _is_missing(error):
                    return None
                raise

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """One conditional put; an object that is gone has changed too."""
        from azure.core import MatchConditions

        return self._put(path, data, ChangedError, etag=tag, match_condition=MatchConditions.IfNotModified)

    def names(self, folder: str) -> list[str]:
        """One level of a listing, page by page."""
        start = self._folder(folder)
        with self._plain(folder, "list") as client:
            found = {str(entry.name).removeprefix(start).rstrip("/") for entry in client.walk_blobs(name_starts_with=start, delimiter="/")}
        return sorted(found - {""})  # "" is the mark that some tools leave for an empty folder

    def _put(self, path: str, data: bytes, beaten: type[Exception], **condition: Any) -> str:
        """A put that only one of many wins.

        The client repeats a put whose answer was lost, and then meets its own object: the writer's mark in the object's
        metadata tells that from somebody else's.
        """
        mark, turns = secrets.token_hex(8), []
        with self._plain(path, "write") as client:
            try:
                blob = client.get_blob_client(self._key(path))
                made = blob.upload_blob(data, metadata={_WRITER: mark}, overwrite=True, retry_hook=lambda **_: turns.append(1), **condition)
                return str(made["etag"])
            except service_error() as error:
                if error_code(error) not in _BEATEN and not _is_missing(error):
                    raise
                there = self._head(path) if turns else None
                if there is not None and there.metadata.get(_WRITER) == mark:
                    return str(there.etag)
                raise beaten(path) from None

    def _head(self, path: str) -> Any:
        with self._plain(path, "read") as client:
            try:
                return client.get_blob_client(self._key(path)).get_blob_properties()
            except service_error() as error:
                if _is_missing(error):
                    return None
                raise

    def _keys(self, client: Any, start: str) -> list[str]:
        entries = client.list_blobs(name_starts_with=start, include=["metadata"])
        return sorted(str(entry.name) for entry in entries if not _is_folder(entry))

    def _copy(self, client: Any, key: str, target: Path) -> bool:
        """Big ones in parts."""
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
    def _plain(self, path: str, verb: str) -> Iterator[Any]:
        """The client; what it raises inside, in words and with an exit code."""
        what = f"{verb} {self._url}/{self._key(path)}"
        try:
            yield _container(self._account, self._container)
        except client_errors() as error:
            raise translate_error(error, what, forget=forget) from None


@functools.cache
def client(account: str) -> Any:
    """The ordinary client of an account, one for the process: its credentials come from where everybody's do, never an account key."""
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import BlobServiceClient, ExponentialRetry
    from requests import Session
    from requests.adapters import HTTPAdapter

    session = Session()
    session.mount("https://", HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS))
    transport = RequestsTransport(session=session, session_owner=True, connection_timeout=10, read_timeout=60)
    kinds: dict[str, Any] = {f"retry_{kind}": 5 for kind in ("total", "connect", "read", "status")}
    patience = ExponentialRetry(initial_backoff=0, increment_base=2, random_jitter_range=1, **kinds)  # a minute in all
    credential().get_token(_SCOPE)  # the client would try for a minute to get one where there is none
    url = f"https://{account}.blob.core.windows.net"
    return BlobServiceClient(url, credential=credential(), transport=transport, retry_policy=patience)


@functools.lru_cache(maxsize=32)
def _container(account: str, name: str) -> Any:
    return client(account).get_container_client(name)


def forget() -> None:
    """Let whoever asks next sign in anew."""
    _container.cache_clear()
    client.cache_clear()
    credential.cache_clear()


def _is_missing(error: Any) -> bool:
    """Whether there is no such object; a container that is not there is another matter. A head's answer has no words."""
    return error_code(error) in _MISSING or (error.status_code == 404 and not error_code(error))


def _is_folder(entry: Any) -> bool:
    """A folder of an account with a hierarchical namespace is listed as an empty object with this mark."""
    return str(entry.name).endswith("/") or (entry.metadata or {}).get("hdi_isfolder") == "true"
