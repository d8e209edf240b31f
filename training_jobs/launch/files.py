"""Small objects by URL: file:// with the standard library alone, anything else through fsspec."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .ended import EndedError


def is_local(url: str) -> bool:
    """Whether a URL is a path of this machine."""
    return urlsplit(url).scheme == "file"


def read(url: str) -> bytes | None:
    """The object's content; None when there is none."""
    try:
        if is_local(url):
            return _path(url).read_bytes()
        fs, path = _remote(url)
        return bytes(fs.cat_file(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(url: str, data: bytes) -> None:
    """Write an object whole: a reader sees the old content or the new."""
    if not is_local(url):
        fs, path = _remote(url)
        fs.pipe_file(path, data)
        return
    with _beside(_path(url), data) as written:
        os.replace(written, _path(url))


def create(url: str, data: bytes) -> bool:
    """Write a new object; False when it is there already, and then it is left alone."""
    if not is_local(url):
        fs, path = _remote(url)
        try:
            fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True
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
        fs, path = _remote(url)
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(url: str) -> None:
    """Remove an object, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if is_local(url):
            _path(url).unlink()
        else:
            fs, path = _remote(url)
            fs.rm_file(path)


def _path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _remote(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:  # fsspec's words for a missing package and for an unknown scheme
        fix = f"pip install fsspec and its file system for {urlsplit(url).scheme}://"
        raise EndedError(64, f"the job's image cannot reach {url}: {error}. Fix: {fix}") from None
    return fs, path


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
