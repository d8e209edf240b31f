"""Reads and writes small objects by URL: file:// with the standard library, other schemes through fsspec."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .node_exit import NodeExitError
from .storage import RetryingFilesystem, StorageUnreachableError, translated_errors

__all__ = ["create", "download", "is_local", "list_names", "local_path", "read", "remote", "remove", "upload", "write"]

_TRIES = 8  # tries of a conditional put that conflicts with another writer's


def is_local(url: str) -> bool:
    """Return whether a URL is a path on this machine."""
    return urlsplit(url).scheme == "file"


def read(url: str) -> bytes | None:
    """Return an object's content; None if it does not exist."""
    try:
        if is_local(url):
            return local_path(url).read_bytes()
        with remote(url) as (fs, path):
            return bytes(RetryingFilesystem(fs).cat_file(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(url: str, data: bytes) -> None:
    """Write an object atomically: readers see the old or the new content."""
    if not is_local(url):
        with remote(url) as (fs, path):
            fs.pipe_file(path, data)
        return
    with _temporary_file(local_path(url), data) as written:
        os.replace(written, local_path(url))


def create(url: str, data: bytes) -> bool:
    """Create an object. If it exists, change nothing and return False."""
    if not is_local(url):
        return _create_remote(url, data)
    with _temporary_file(local_path(url), data) as written:
        try:
            os.link(written, local_path(url))
        except FileExistsError:
            return False
    return True


def list_names(url: str) -> list[str]:
    """List the names directly in a folder, sorted; empty if the folder does not exist."""
    try:
        if is_local(url):
            return sorted(os.listdir(local_path(url)))
        with remote(url) as (fs, path):
            entries = RetryingFilesystem(fs).ls(path, detail=False)
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def upload(url: str, path: Path) -> None:
    """Upload a file as an object without reading it into memory. A file:// object appears complete or not at all."""
    if not is_local(url):
        with remote(url) as (fs, target):
            RetryingFilesystem(fs).put_file(str(path), target)
        return
    with _temporary_file(local_path(url), b"") as written:
        shutil.copyfile(path, written)
        os.replace(written, local_path(url))


def download(url: str, path: Path) -> None:
    """Download an object to a file. Raises FileNotFoundError if the object does not exist."""
    if is_local(url):
        shutil.copyfile(local_path(url), path)
        return
    with remote(url) as (fs, source):
        RetryingFilesystem(fs).get_file(source, str(path))


def remove(url: str) -> None:
    """Remove an object if it exists."""
    with contextlib.suppress(FileNotFoundError):
        if is_local(url):
            local_path(url).unlink()
        else:
            with remote(url) as (fs, path):
                fs.rm_file(path)


def local_path(url: str) -> Path:
    """Return the path that a file:// URL names."""
    return Path(unquote(urlsplit(url).path))


def _create_remote(url: str, data: bytes) -> bool:
    """Put an object if it does not exist. Returns False if it exists.

    If the answer to a successful put is lost, the client retries and finds its own object. Then the result is False although the object
    was created. If launch was claiming an attempt, this only leaves one attempt number unused.
    """
    with remote(url) as (fs, path):
        _require_conditional_put(fs, url)
        for attempt in range(_TRIES):
            try:
                fs.pipe_file(path, data, mode="create")
                return True
            except FileExistsError:
                return False
            except TypeError as error:
                if not url.startswith("abfs"):
                    raise
                # an old adlfs passes `mode` on to a client that does not accept it
                raise NodeExitError(64, f"the job's image cannot write {url} safely: {error}; fix: pip install 'adlfs>=2026.4'") from None
            except OSError as error:
                code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
                if code in ("PreconditionFailed", "412"):
                    return False
                if code not in ("ConditionalRequestConflict", "409") or attempt == _TRIES - 1:
                    raise
            time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 jitter
    raise AssertionError("unreachable: the last attempt returns or raises")


def _require_conditional_put(fs: Any, url: str) -> None:
    """Raise NodeExitError (64) if the package is too old to send the condition. Then two attempts could claim the same number."""
    package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(urlsplit(url).scheme)
    if package is None:
        return
    takes_mode = "mode" in inspect.signature(fs._pipe_file).parameters
    if takes_mode and package == "s3fs":
        takes_mode = "IfNoneMatch" in fs.s3.meta.service_model.operation_model("PutObject").input_shape.members
    if not takes_mode:
        too_old = "s3fs or botocore is too old" if package == "s3fs" else f"{package} is too old"
        raise NodeExitError(64, f"the job's image cannot write {url} safely: {too_old}; fix: pip install '{package}>=2025.3'")


@contextlib.contextmanager
def remote(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the file system of a URL and the path in it. The client's errors become OSErrors."""
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:  # a missing package, or an unknown scheme
        fix = f"pip install fsspec and its file system for {urlsplit(url).scheme}://"
        raise NodeExitError(64, f"the job's image cannot reach {url}: {error}; fix: {fix}") from None
    try:
        with translated_errors():
            yield fs, path
    except StorageUnreachableError as error:
        raise StorageUnreachableError(f"{url}: {error}") from error


@contextlib.contextmanager
def _temporary_file(path: Path, data: bytes) -> Iterator[str]:
    """Write a temporary file beside `path` and yield its path. Removes the file at the end if it is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
