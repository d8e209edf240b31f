"""The base class of the cloud stores: a prefix in a bucket, and downloads of whole folders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ...problems import Problem
from ..errors import UsageError
from .base import MAX_DOWNLOADS, bounded
from .copies import OnLeftOut, OnSent, file_names, ignore_left_out, ignore_sent, write_below
from .local import translate_os_errors

__all__ = ["Client", "ObjectHead", "PrefixedStore", "bucket_and_prefix"]

Client: TypeAlias = Any  # a cloud SDK's client: the SDKs have no types
ObjectHead: TypeAlias = Any  # an object's metadata as the SDK returns it


class PrefixedStore(ABC):
    """A bucket, or a folder in it. A subclass adds its client, its conditional write and its error table."""

    def __init__(self, bucket_url: str, prefix: str) -> None:
        """Create the store. `prefix`: the path in the store's URL."""
        self._url = bucket_url
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def exists(self, path: str) -> bool:
        """Make one HEAD request."""
        return self._head(path) is not None

    def send(self, path: str, file: Path, sha256: str, on_sent: OnSent = ignore_sent) -> bool:
        """Compare the digest in the object's metadata, then upload. The client splits a large file into parts."""
        head = self._head(path)
        if head is not None and self._digest(head) == sha256:
            return False
        with translate_os_errors(file, "read"), self._translated(path, "write") as client:
            self._upload(client, self._key(path), file, sha256, on_sent)
        return True

    def download(self, folder: str, into: Path, on_left_out: OnLeftOut = ignore_left_out) -> list[str]:
        """Copy every object below a folder. An object that is deleted meanwhile, such as an old checkpoint, is left out."""
        start = self._folder(folder)
        with self._translated(folder, "read") as client:
            keys = bounded(self._keys(client, start), MAX_DOWNLOADS, f"{self._url}/{start.rstrip('/')}")
            names = file_names(sorted(key.removeprefix(start) for key in keys), on_left_out)
            return [file for name, file in names.items() if self._downloaded(client, start + name, file, into)]

    def _downloaded(self, client: Client, key: str, name: str, into: Path) -> bool:
        # `_translated` inside: to Python some time-outs of the clients are OSErrors.
        with translate_os_errors(into), self._translated(name, "read"):
            return write_below(into, name, lambda target: self._copy(client, key, target))

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _folder(self, path: str) -> str:
        """Return the prefix of the keys in a folder."""
        return self._key(path).rstrip("/") + "/" if path else self._prefix

    @abstractmethod
    def _translated(self, path: str, verb: str) -> AbstractContextManager[Client]:
        """Return a context manager that yields the client and converts its errors to GpuyardErrors: `cannot <verb> <URL of path>`."""

    @abstractmethod
    def _head(self, path: str) -> ObjectHead | None:
        """Return an object's metadata; None if it does not exist."""

    @abstractmethod
    def _digest(self, head: ObjectHead) -> str | None:
        """Return the digest in an object's metadata; None if `send` did not write it."""

    @abstractmethod
    def _upload(self, client: Client, key: str, file: Path, digest: str, on_sent: OnSent) -> None:
        """Upload a file, with the digest in the metadata."""

    @abstractmethod
    def _keys(self, client: Client, start: str) -> Iterator[str]:
        """Return the keys that begin with `start`, without the keys of folders."""

    @abstractmethod
    def _copy(self, client: Client, key: str, target: Path) -> bool:
        """Download an object to a file. Returns False if the object was deleted."""


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """Split a URL scheme://bucket/path into bucket and path. Raises UsageError for any other URL."""
    parts = urlsplit(url)
    if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        forms = f"{parts.scheme}://bucket or {parts.scheme}://bucket/prefix"
        raise UsageError("the bucket cannot be used", [Problem("url", "not a bucket", url, forms)])
    return parts.netloc, parts.path
