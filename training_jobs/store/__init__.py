"""Conditional object storage: the one thing that idempotency needs and that every cloud has.

`create` succeeds once, `replace` only if nothing changed since the tag was read; the journal is the same code everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ...problems import Problem
from ..errors import UsageError
from .base import ChangedError, ExistsError, Store
from .blob import BlobStore
from .gcs import GcsStore
from .local import LocalStore, explain_os_error, plain_errors
from .s3 import S3Store

__all__ = [
    "BlobStore",
    "ChangedError",
    "ExistsError",
    "GcsStore",
    "LocalStore",
    "S3Store",
    "Store",
    "explain_os_error",
    "open_store",
    "plain_errors",
    "read_url",
]

# Each cloud adds its scheme with its conditional write.
_STORES: dict[str, Callable[[str], Store]] = {"file": LocalStore, "s3": S3Store, "gs": GcsStore, "abfs": BlobStore}


def open_store(url: str) -> Store:
    """The store of a bucket URL. Raises UsageError for a scheme that nothing here serves."""
    scheme = urlsplit(url).scheme
    if scheme not in _STORES:
        raise UsageError("the bucket cannot be used", [Problem("url", "unknown scheme", url, ", ".join(_STORES))])
    return _STORES[scheme](url)


def read_url(url: str) -> bytes | None:
    """One object's content by its own URL; None when there is none. Raises what `open_store` and `read` raise."""
    parts = urlsplit(url)
    found = open_store(f"{parts.scheme}://{parts.netloc}").read(parts.path.lstrip("/"))
    return None if found is None else found[0]
