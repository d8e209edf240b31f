"""A folder as a bucket, for file:// URLs: the promises of a conditional store kept with link(2) and a lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...problems import Problem
from ..errors import AuthError, GpuyardError, QuotaError, UsageError
from .base import ChangedError, ExistsError


class LocalStore:
    """One folder.

    Raises AuthError where the folder may not be written, QuotaError where the disk is full.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"}:
            raise UsageError("the bucket cannot be used", [Problem("url", "names a host", url, "file:///absolute/path")])
        self._root = Path(unquote(parts.path))

    def create(self, path: str, data: bytes) -> str:
        """Write beside and link into place: the name appears once, whole."""
        target = self._root / path
        with plain_errors(target), _written_beside(target, data) as written:
            try:
                os.link(written, target)
            except FileExistsError:
                raise ExistsError(path) from None
            _sync_folder(target.parent)
        return _tag(data)

    def read(self, path: str) -> tuple[bytes, str] | None:
        """The content now."""
        with plain_errors(self._root / path, "read"):
            try:
                data = (self._root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return data, _tag(data)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Compare and swap under a lock of the folder."""
        target = self._root / path
        with plain_errors(target), _locked(target.parent):
            found = self.read(path)
            if found is None or found[1] != tag:
                raise ChangedError(path)
            with _written_beside(target, data) as written:
                os.rename(written, target)
            _sync_folder(target.parent)
        return _tag(data)

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return (self._root / path).is_file()

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, what is being written left out."""
        with plain_errors(self._root / folder, "read"):
            try:
                return sorted(name for name in os.listdir(self._root / folder) if not name.startswith(".tmp-"))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def download(self, folder: str, into: Path) -> list[str]:
        """Copy a folder."""
        source = self._root / folder
        files = sorted(path for path in source.rglob("*") if path.is_file())
        with plain_errors(into):
            return [name for path in files if (name := _copied(path, path.relative_to(source), into))]


def _copied(path: Path, name: Path, into: Path) -> str | None:
    """Copy one file; None when it vanished meanwhile, as old checkpoints do."""
    (into / name).parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(path, into / name)
    except FileNotFoundError:
        if path.exists():
            raise
        return None
    return name.as_posix()


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _written_beside(target: Path, data: bytes) -> Iterator[Path]:
    """A finished, synced temporary file beside the target; removed when it is still there at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.parent / f".tmp-{target.name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's own lock; it goes with the process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def plain_errors(path: Path, verb: str = "write") -> Iterator[None]:
    """What the operating system refuses inside, in words and with an exit code."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path, verb) from error


def explain_os_error(error: OSError, path: Path, verb: str = "write") -> GpuyardError:
    """An operating system's refusal in words, with the exit code that fits."""
    text = f"cannot {verb} {error.filename or path}: {error.strerror}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return QuotaError(f"{text}; free some space, nothing that was saved before is touched")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return AuthError(f"{text}; this user needs to be able to {verb} there")
    return UsageError(text)
