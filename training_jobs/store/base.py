"""The interface of an object store with conditional writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from ..errors import UsageError
from .copies import OnLeftOut, OnSent, ignore_left_out, ignore_sent

__all__ = ["MAX_DOWNLOADS", "MAX_OBJECT_BYTES", "ChangedError", "ExistsError", "Store", "UnreadableError", "bounded", "require_at_most"]

MAX_OBJECT_BYTES = 8 * 2**20
MAX_DOWNLOADS = 1_000_000
"""Largest number of objects that one `download` copies."""
_T = TypeVar("_T")


class ExistsError(Exception):
    """`create` found the object already there."""


class ChangedError(Exception):
    """`replace` found an object that changed since its tag was read."""


class UnreadableError(UsageError):
    """`read` found something that is not a regular file, or an object that is too large."""

    @classmethod
    def too_large(cls, place: str, most: int) -> UnreadableError:
        """Return the error for an object of more than `most` bytes."""
        return cls(f"{place} was not read: larger than {most:,} bytes")


def bounded(found: Iterable[_T], most: int | None, place: str) -> Iterator[_T]:
    """Yield the entries of a listing. Raises UnreadableError for more than `most` entries."""
    for number, entry in enumerate(found, 1):
        require_at_most(most, number, place)
        yield entry


def require_at_most(most: int | None, number: int, place: str) -> None:
    """Raise UnreadableError if a listing has more than `most` entries. `number`: entries read so far."""
    if most is not None and number > most:
        raise UnreadableError(f"{place}/ was not listed: more than {most:,} objects")


class Store(Protocol):
    """An object store: one bucket. Paths are relative to its root. A tag identifies a version of an object."""

    def create(self, path: str, data: bytes) -> str:
        """Write a new object and return its tag. Raises ExistsError."""

    def read(self, path: str, most: int = MAX_OBJECT_BYTES) -> tuple[bytes, str] | None:
        """Return an object's content and tag; None if it does not exist. Raises UnreadableError for more than `most` bytes."""

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Overwrite an object that still has this tag, and return the new tag. Raises ChangedError."""

    def remove(self, path: str) -> None:
        """Delete an object. Do nothing if it does not exist."""

    def exists(self, path: str) -> bool:
        """Return whether the object exists."""

    def send(self, path: str, file: Path, sha256: str, on_sent: OnSent = ignore_sent) -> bool:
        """Upload a file of any size and replace an existing object. If the object has this digest already, send nothing and return False.

        `sha256`: hexadecimal digest of the file. It becomes metadata of the object. If an existing object has no such digest, the file is
        sent again. `on_sent` gets the number of bytes of each sent part, possibly in another thread.
        """

    def names(self, folder: str, most: int | None = None) -> list[str]:
        """Return the names directly in a folder, sorted; empty if the folder does not exist.

        Raises UnreadableError for more than `most` entries.
        """

    def download(self, folder: str, into: Path, on_left_out: OnLeftOut = ignore_left_out) -> list[str]:
        """Copy all files below a folder to `into`, without links. Returns the relative paths that were written.

        Raises UnreadableError for more than MAX_DOWNLOADS objects.
        """
