"""Amazon S3 as a store, for s3:// URLs. `create` uses If-None-Match, `replace` uses If-Match with the ETag."""

from __future__ import annotations

import functools
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..clouds import Json
from ..clouds.aws_errors import error_code, error_kind, service_error, translate_error
from ..errors import LostSightError
from .base import MAX_OBJECT_BYTES, ChangedError, ExistsError, UnreadableError, bounded
from .copies import OnSent
from .prefixed import Client, ObjectHead, PrefixedStore, bucket_and_prefix

__all__ = ["S3Store", "client"]

_MISSING = {"NoSuchKey", "404", "NotFound"}
_CONDITION_FAILED = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_TRIES = 8  # for a write that conflicts with another writer's
_WRITER, _DIGEST = "gpuyard-writer", "gpuyard-sha256"


class S3Store(PrefixedStore):
    """A bucket, or a folder in it.

    Raises AuthError, QuotaError or NotFoundError (no such bucket) if S3 refuses a request, and LostSightError if S3 does not answer.
    """

    def __init__(self, url: str) -> None:
        self._bucket, prefix = bucket_and_prefix(url)
        super().__init__(f"s3://{self._bucket}", prefix)

    def create(self, path: str, data: bytes) -> str:
        """Make one conditional PUT."""
        return self._put(path, data, ExistsError, IfNoneMatch="*")

    def read(self, path: str, most: int = MAX_OBJECT_BYTES) -> tuple[bytes, str] | None:
        """Make one GET."""
        with self._translated(path, "read") as client:
            try:
                answer = client.get_object(Bucket=self._bucket, Key=self._key(path))
            except service_error() as error:
                if error_code(error) in _MISSING:
                    return None
                raise
            if answer["ContentLength"] > most:
                answer["Body"].close()
                raise UnreadableError.too_large(f"{self._url}/{self._key(path)}", most)
            return answer["Body"].read(), answer["ETag"]

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Make one conditional PUT. A deleted object counts as changed."""
        return self._put(path, data, ChangedError, IfMatch=tag)

    def remove(self, path: str) -> None:
        """Make one DELETE, which S3 accepts for a missing object too."""
        with self._translated(path, "delete") as client:
            client.delete_object(Bucket=self._bucket, Key=self._key(path))

    def names(self, folder: str, most: int | None = None) -> list[str]:
        """List one level of a folder, page by page."""
        start = self._folder(folder)
        with self._translated(folder, "list") as client:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start, Delimiter="/")
            keys = (key for page in pages for key in _level(page))
            found = {key.removeprefix(start).rstrip("/") for key in bounded(keys, most, f"{self._url}/{start.rstrip('/')}")}
        return sorted(found - {""})  # "" is the object that consoles create for an empty folder

    def _put(self, path: str, data: bytes, lost_race: type[Exception], **condition: str) -> str:
        """Make a conditional PUT. If another writer was first, raise `lost_race`.

        The client repeats a PUT whose answer was lost. If the first PUT had succeeded, the second PUT fails its condition. A random mark
        in the object's metadata then shows that this writer created it.
        """
        mark = secrets.token_hex(8)
        with self._translated(path, "write") as client:
            for turn in range(_TRIES):
                try:
                    put = {"Bucket": self._bucket, "Key": self._key(path), "Body": data, "Metadata": {_WRITER: mark}, **condition}
                    return str(client.put_object(**put)["ETag"])
                except service_error() as error:
                    code = error_code(error)
                    repeated = turn > 0 or error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                    if code in _CONDITION_FAILED or (code in _MISSING and "IfMatch" in condition):
                        head = self._head(path) if repeated else None
                        if head is not None and head["Metadata"].get(_WRITER) == mark:
                            return str(head["ETag"])
                        raise lost_race(path) from None
                    if code not in _CONFLICT:
                        raise
                _pause(turn)
        raise LostSightError(f"cannot write {self._url}/{self._key(path)}: other writers kept changing it; try again later")

    def _head(self, path: str) -> Json | None:
        with self._translated(path, "read") as client:
            try:
                answer: Json = client.head_object(Bucket=self._bucket, Key=self._key(path))
            except service_error() as error:
                if error_code(error) in _MISSING:
                    return None
                raise
        return answer

    def _digest(self, head: ObjectHead) -> str | None:
        digest: str | None = head["Metadata"].get(_DIGEST)
        return digest

    def _upload(self, client: Client, key: str, file: Path, digest: str, on_sent: OnSent) -> None:
        from boto3.exceptions import S3UploadFailedError

        try:
            client.upload_file(str(file), self._bucket, key, ExtraArgs={"Metadata": {_DIGEST: digest}}, Callback=on_sent)
        except S3UploadFailedError as error:
            raise error.__cause__ or error.__context__ or error from None  # S3's own refusal, which has a code

    def _keys(self, client: Client, start: str) -> Iterator[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
        return (entry["Key"] for page in pages for entry in page.get("Contents", ()) if not entry["Key"].endswith("/"))

    def _copy(self, client: Client, key: str, target: Path) -> bool:
        """Download an object. boto3 splits a large object into parts."""
        try:
            client.download_file(self._bucket, key, str(target))
        except service_error() as error:
            if error_code(error) in _MISSING:
                return False
            raise
        return True

    @contextmanager
    def _translated(self, path: str, verb: str) -> Iterator[Client]:
        try:
            yield client()
        except _client_errors() as error:
            if error_kind(error) in {"expired", "denied"}:
                client.cache_clear()  # the next call creates a client, which reads the credentials again
            raise translate_error(error, f"{verb} {self._url}/{self._key(path)}") from None


def _level(page: Json) -> Iterator[str]:
    """Yield the keys and common prefixes of one page of a listing."""
    yield from (entry["Key"] for entry in page.get("Contents", ()))
    yield from (entry["Prefix"] for entry in page.get("CommonPrefixes", ()))


@functools.cache
def client() -> Client:
    """Return this process's boto3 client of S3, with boto3's own search for credentials and endpoint."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=10, read_timeout=60, max_pool_connections=32)
    return boto3.session.Session().client("s3", config=config)


def _client_errors() -> tuple[type[Exception], ...]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, Boto3Error


def _pause(turn: int, sleep: Callable[[float], None] = time.sleep) -> None:
    sleep(random.uniform(0, min(2.0, 0.05 * 2**turn)))  # noqa: S311 jitter
