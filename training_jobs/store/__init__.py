"""Object stores with conditional writes, one for each URL scheme.

`create` fails if the object exists. `replace` fails if the object changed since it was read. The run journal uses only these two
writes, so its code is the same on every cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ...problems import Problem
from ..errors import UsageError
from .base import ChangedError, ExistsError, Store, UnreadableError
from .blob import BlobStore
from .copies import OnLeftOut, OnSent, ignore_sent
from .gcs import GcsStore
from .local import LocalStore, file_digest, open_regular_file, read_regular_file, translate_os_error, translate_os_errors
from .s3 import S3Store

__all__ = [
    "BlobStore",
    "ChangedError",
    "ExistsError",
    "GcsStore",
    "LocalStore",
    "OnLeftOut",
    "OnSent",
    "S3Store",
    "Store",
    "UnreadableError",
    "file_digest",
    "ignore_sent",
    "open_regular_file",
    "open_store",
    "read_regular_file",
    "read_url",
    "translate_os_error",
    "translate_os_errors",
]

_STORES: dict[str, Callable[[str], Store]] = {"file": LocalStore, "s3": S3Store, "gs": GcsStore, "abfs": BlobStore}


def open_store(url: str) -> Store:
    """Return the store of a bucket URL. Raises UsageError for an unknown scheme."""
    scheme = urlsplit(url).scheme
    if scheme not in _STORES:
        raise UsageError("the bucket cannot be used", [Problem("url", "unknown scheme", url, ", ".join(_STORES))])
    return _STORES[scheme](url)


def read_url(url: str) -> bytes | None:
    """Return the content of one object by its own URL; None if it does not exist. Raises the errors of `open_store` and `read`."""
    parts = urlsplit(url)
    found = open_store(f"{parts.scheme}://{parts.netloc}").read(parts.path.lstrip("/"))
    return None if found is None else found[0]
