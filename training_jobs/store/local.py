"""A folder as a store, for file:// URLs. `create` uses link(2), `replace` uses a lock on the folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from ...problems import Problem
from ..errors import AuthError, GpuyardError, QuotaError, UsageError
from .base import MAX_DOWNLOADS, MAX_OBJECT_BYTES, ChangedError, ExistsError, UnreadableError, bounded
from .copies import CountedFile, OnLeftOut, OnSent, file_names, ignore_left_out, ignore_sent, write_below

__all__ = ["LocalStore", "file_digest", "open_regular_file", "read_regular_file", "translate_os_error", "translate_os_errors"]


class LocalStore:
    """A store in one folder.

    Raises AuthError for a folder without write permission, and QuotaError if the disk is full.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"}:
            raise UsageError("the bucket cannot be used", [Problem("url", "file URL with a host", url, "file:///absolute/path")])
        self._root = Path(unquote(parts.path))

    def create(self, path: str, data: bytes) -> str:
        """Write a temporary file and link it to its name. The link fails if the name exists."""
        target = self._root / path
        with translate_os_errors(target), _temporary_file(target, data) as written:
            try:
                os.link(written, target)
            except FileExistsError:
                raise ExistsError(path) from None
            _sync_folder(target.parent)
        return _tag(data)

    def read(self, path: str, most: int = MAX_OBJECT_BYTES) -> tuple[bytes, str] | None:
        """Read the file. The tag is the digest of its content."""
        with translate_os_errors(self._root / path, "read"):
            try:
                data = read_regular_file(self._root / path, most)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return data, _tag(data)

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Compare the tag and replace the file under a lock on the folder."""
        target = self._root / path
        with translate_os_errors(target), _locked(target.parent):
            found = self.read(path)
            if found is None or found[1] != tag:
                raise ChangedError(path)
            with _temporary_file(target, data) as written:
                os.rename(written, target)
            _sync_folder(target.parent)
        return _tag(data)

    def remove(self, path: str) -> None:
        """Unlink the file."""
        with translate_os_errors(self._root / path, "delete"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self._root / path).unlink()

    def exists(self, path: str) -> bool:
        """Return whether the file exists."""
        return (self._root / path).is_file()

    def send(self, path: str, file: Path, sha256: str, on_sent: OnSent = ignore_sent) -> bool:
        """Compare the digest of the existing file. If it differs, write a copy beside the file and rename the copy."""
        target = self._root / path
        with translate_os_errors(target):
            if target.is_file() and not target.is_symlink() and file_digest(target) == sha256:
                return False
            with _temporary_copy(target, file, on_sent) as written:
                os.rename(written, target)
            _sync_folder(target.parent)
        return True

    def names(self, folder: str, most: int | None = None) -> list[str]:
        """List a folder, without files that are being written."""
        place = self._root / folder
        with translate_os_errors(place, "read"):
            try:
                with os.scandir(place) as entries:
                    return sorted(entry.name for entry in bounded(entries, most, str(place)) if not entry.name.startswith(".tmp-"))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def download(self, folder: str, into: Path, on_left_out: OnLeftOut = ignore_left_out) -> list[str]:
        """Copy a folder. A file that is deleted during the copy, such as an old checkpoint, is left out."""
        files = bounded(self._files(folder, on_left_out), MAX_DOWNLOADS, str(self._root / folder))
        names = file_names(list(files), on_left_out)
        with translate_os_errors(into):
            return [file for name, file in names.items() if _copy(self._root / folder / name, into, file)]

    def _files(self, folder: str, on_left_out: OnLeftOut) -> Iterator[str]:
        """Yield the names of the regular files below a folder, sorted."""
        source = self._root / folder
        if any((self._root / part).is_symlink() for part in (Path(folder), *Path(folder).parents)):
            on_left_out(f"{folder}: a link")
            return
        for parent, folders, files in os.walk(source):
            folders.sort()
            for name in sorted([*files, *(each for each in folders if (Path(parent) / each).is_symlink())]):
                path = Path(parent) / name
                relative = path.relative_to(source).as_posix()
                if path.is_symlink() or not path.is_file():
                    on_left_out(f"{relative}: {'a link' if path.is_symlink() else 'not a regular file'}")
                else:
                    yield relative


def open_regular_file(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError, and UnreadableError for a link or any other file that is not regular."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # without O_NONBLOCK a FIFO would wait for a writer
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENXIO}:  # a link, or a socket
            raise UnreadableError(f"{path} was not read: not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableError(f"{path} was not read: not a regular file")
    return os.fdopen(descriptor, "rb")


def read_regular_file(path: Path, most: int = MAX_OBJECT_BYTES) -> bytes:
    """Return a file's content. Raises the errors of `open_regular_file`, and UnreadableError for more than `most` bytes."""
    with open_regular_file(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UnreadableError.too_large(str(path), most)
    return data


def _copy(path: Path, into: Path, name: str) -> bool:
    """Copy one file. Returns False if it was deleted meanwhile."""

    def write(target: Path) -> bool:
        try:
            source = open_regular_file(path)
        except FileNotFoundError:
            return False
        with source, target.open("xb") as file:
            shutil.copyfileobj(source, file, 2**20)
        return True

    return write_below(into, name, write)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal."""
    found = hashlib.sha256()
    with open_regular_file(path) as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _temporary_file(target: Path, data: bytes) -> AbstractContextManager[Path]:
    return _temporary(target, lambda file: file.write(data))


def _temporary_copy(target: Path, source: Path, on_sent: OnSent = ignore_sent) -> AbstractContextManager[Path]:
    def copy(file: BinaryIO) -> None:
        with open_regular_file(source) as content:
            shutil.copyfileobj(CountedFile(content, on_sent), file, 2**20)

    return _temporary(target, copy)


@contextlib.contextmanager
def _temporary(target: Path, write: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """Write and sync a temporary file beside the target, and yield its path. Removes the file at the end if it is still there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.parent / f".tmp-{target.name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with beside.open("xb") as file:
            write(file)
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
    """Hold a lock on the folder, which the operating system releases when the process exits."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def translate_os_errors(path: Path, verb: str = "write") -> Iterator[None]:
    """Convert OSErrors inside the context to GpuyardErrors such as `cannot <verb> <path>`."""
    try:
        yield
    except OSError as error:
        raise translate_os_error(error, path, verb) from error


def translate_os_error(error: OSError, path: Path, verb: str = "write") -> GpuyardError:
    """Return the GpuyardError for an OSError."""
    text = f"cannot {verb} {error.filename or path}: {error.strerror}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return QuotaError(f"{text}; free some space; objects that were saved before are unchanged")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return AuthError(f"{text}; give this user the permission to {verb} there")
    return UsageError(text)
