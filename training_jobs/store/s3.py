"""S3 as a store, for s3:// URLs: If-None-Match makes `create` happen once, If-Match on the ETag guards `replace`."""

from __future__ import annotations

import functools
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..clouds.aws_errors import error_code, error_kind, service_error, translate_error
from ..errors import LostSightError
from .base import ChangedError, ExistsError
from .prefixed import PrefixedStore, bucket_of

_MISSING = {"NoSuchKey", "404", "NotFound"}
_BEATEN = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_TRIES = 8  # of a write that collides with another one in flight
_WRITER = "gpuyard-writer"


class S3Store(PrefixedStore):
    """One bucket, or what lies below a prefix of one.

    Raises AuthError, QuotaError and NotFoundError (no such bucket) for what S3 refuses, LostSightError while it cannot be asked.
    """

    def __init__(self, url: str) -> None:
        self._bucket, path = bucket_of(url)
        super().__init__(f"s3://{self._bucket}", path)

    def create(self, path: str, data: bytes) -> str:
        """One conditional put."""
        return self._put(path, data, ExistsError, IfNoneMatch="*")

    def read(self, path: str) -> tuple[bytes, str] | None:
        """One get."""
        with self._plain(path, "read") as client:
            try:
                answer = client.get_object(Bucket=self._bucket, Key=self._key(path))
            except service_error() as error:
                if error_code(error) in _MISSING:
                    return None
                raise
            return answer["Body"].read(), answer["ETag"]

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """One conditional put; an object that is gone has changed too."""
        return self._put(path, data, ChangedError, IfMatch=tag)

    def names(self, folder: str) -> list[str]:
        """One level of a listing, page by page."""
        start = self._folder(folder)
        found: set[str] = set()
        with self._plain(folder, "list") as client:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start, Delimiter="/"):
                found |= {entry["Key"].removeprefix(start) for entry in page.get("Contents", ())}
                found |= {entry["Prefix"].removeprefix(start).rstrip("/") for entry in page.get("CommonPrefixes", ())}
        return sorted(found - {""})  # "" is the mark that consoles leave for an empty folder

    def _put(self, path: str, data: bytes, beaten: type[Exception], **condition: str) -> str:
        """A put that only one of many wins.

        The client repeats a put whose answer was lost, and then meets its own object: the writer's mark in the object's
        metadata tells that from somebody else's.
        """
        mark = secrets.token_hex(8)
        with self._plain(path, "write") as client:
            for turn in range(_TRIES):
                try:
                    put = {"Bucket": self._bucket, "Key": self._key(path), "Body": data, "Metadata": {_WRITER: mark}, **condition}
                    return str(client.put_object(**put)["ETag"])
                except service_error() as error:
                    code = error_code(error)
                    repeated = turn > 0 or error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                    if code in _BEATEN or (code in _MISSING and "IfMatch" in condition):
                        there = self._head(path) if repeated else None
                        if there is not None and there["Metadata"].get(_WRITER) == mark:
                            return str(there["ETag"])
                        raise beaten(path) from None
                    if code not in _CONFLICT:
                        raise
                _pause(turn)
        raise LostSightError(f"cannot write {self._url}/{self._key(path)}: others write it at this moment, again and again; try later")

    def _head(self, path: str) -> dict[str, Any] | None:
        with self._plain(path, "read") as client:
            try:
                answer: dict[str, Any] = client.head_object(Bucket=self._bucket, Key=self._key(path))
            except service_error() as error:
                if error_code(error) in _MISSING:
                    return None
                raise
        return answer

    def _keys(self, client: Any, start: str) -> list[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()) if not entry["Key"].endswith("/"))

    def _copy(self, client: Any, key: str, target: Path) -> bool:
        """Big ones in parts."""
        try:
            client.download_file(self._bucket, key, str(target))
        except service_error() as error:
            if error_code(error) in _MISSING:
                return False
            raise
        return True

    @contextmanager
    def _plain(self, path: str, verb: str) -> Iterator[Any]:
        """The client; what it raises inside, in words and with an exit code."""
        what = f"{verb} {self._url}/{self._key(path)}"
        try:
            yield client()
        except _client_errors() as error:
            if error_kind(error) in {"expired", "denied"}:
                client.cache_clear()  # what asks next reads the credentials anew
            raise translate_error(error, what) from None


@functools.cache
def client() -> Any:
    """S3's ordinary client, one for the process: its credentials and endpoint come from where everybody's do."""
    import boto3
    from botocore.config import Config

    patience = Config(retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=10, read_timeout=60, max_pool_connections=32)
    return boto3.session.Session().client("s3", config=patience)


def _client_errors() -> tuple[type[Exception], ...]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, Boto3Error


def _pause(turn: int, sleep: Callable[[float], None] = time.sleep) -> None:
    sleep(random.uniform(0, min(2.0, 0.05 * 2**turn)))  # noqa: S311 jitter
