"""Small objects by URL: file:// with the standard library alone, anything else through fsspec."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .node_exit import EndedError

_TRIES = 8  # of a conditional put that collides with another one in flight


def is_local(url: str) -> bool:
    """Whether a URL is a path of this machine."""
    return urlsplit(url).scheme == "file"


def read(url: str) -> bytes | None:
    """The object's content; None when there is none."""
    try:
        if is_local(url):
            return _path(url).read_bytes()
        with _remote(url) as (fs, path):
            return bytes(fs.cat_file(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(url: str, data: bytes) -> None:
    """Write an object whole: a reader sees the old content or the new."""
    if not is_local(url):
        with _remote(url) as (fs, path):
            fs.pipe_file(path, data)
        return
    with _beside(_path(url), data) as written:
        os.replace(written, _path(url))


def create(url: str, data: bytes) -> bool:
    """Write a new object; False when it is there already, and then it is left alone."""
    if not is_local(url):
        return _create_remote(url, data)
    with _beside(_path(url), data) as written:
        try:
            os.link(written, _path(url))
        except FileExistsError:
            return False
    return True


def names(url: str) -> list[str]:
    """The names directly in a folder, sorted; empty when there is no such folder."""
    try:
        if is_local(url):
            return sorted(os.listdir(_path(url)))
        with _remote(url) as (fs, path):
            entries = fs.ls(path, detail=False)
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(url: str) -> None:
    """Remove an object, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if is_local(url):
            _path(url).unlink()
        else:
            with _remote(url) as (fs, path):
                fs.rm_file(path)


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _create_remote(url: str, data: bytes) -> bool:
    """A conditional put. Where the answer of one that succeeded is lost, its repetition finds the object there: False, and no harm."""
    with _remote(url) as (fs, path):
        _refuse_blind_put(fs, url)
        for turn in range(_TRIES):
            try:
                fs.pipe_file(path, data, mode="create")
                return True
            except FileExistsError:
                return False
            except TypeError as error:
                if not url.startswith("abfs"):
                    raise
                # an old adlfs hands the mode on to a client that knows none
                raise EndedError(64, f"the job's image cannot write {url} safely: {error}. Fix: pip install 'adlfs>=2025.8'") from None
            except OSError as error:
                code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
                if code in ("PreconditionFailed", "412"):
                    return False
                if code not in ("ConditionalRequestConflict", "409") or turn == _TRIES - 1:
                    raise
            time.sleep(random.uniform(0, 0.05 * 2**turn))  # noqa: S311 jitter
    raise AssertionError  # the last turn has raised


def _refuse_blind_put(fs: Any, url: str) -> None:
    """Old versions of the file systems, and of botocore, drop the condition without a word: then two claims could share a number."""
    package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(urlsplit(url).scheme)
    if package is None:
        return
    takes_mode = "mode" in inspect.signature(fs._pipe_file).parameters
    if takes_mode and package == "s3fs":
        takes_mode = "IfNoneMatch" in fs.s3.meta.service_model.operation_model("PutObject").input_shape.members
    if not takes_mode:
        too_old = "its s3fs or botocore is too old" if package == "s3fs" else f"its {package} is too old"
        raise EndedError(64, f"the job's image cannot write {url} safely: {too_old}. Fix: pip install '{package}>=2025.3'")


@contextlib.contextmanager
def _remote(url: str) -> Iterator[tuple[Any, str]]:
    """The file system and the path in it. What its client raises in words of its own comes out as an OSError."""
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:  # fsspec's words for a missing package and for an unknown scheme
        fix = f"pip install fsspec and its file system for {urlsplit(url).scheme}://"
        raise EndedError(64, f"the job's image cannot reach {url}: {error}. Fix: {fix}") from None
    try:
        yield fs, path
    except (OSError, EndedError):
        raise
    except Exception as error:  # no credentials, no such host: each cloud's client has classes of its own
        raise OSError(f"{url}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _beside(path: Path, data: bytes) -> Iterator[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
