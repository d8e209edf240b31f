"""What every bucket must be able to do: write once, and overwrite only what was read."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ExistsError(Exception):
    """The object is there already."""


class ChangedError(Exception):
    """The object changed since its tag was read."""


class Store(Protocol):
    """A bucket. Paths are relative to its root; a tag is opaque and changes with the content."""

    def create(self, path: str, data: bytes) -> str:
        """Write a new object and return its tag. Raises ExistsError."""

    def read(self, path: str) -> tuple[bytes, str] | None:
        """An object's content and tag; None when there is none."""

    def replace(self, path: str, data: bytes, tag: str) -> str:
        """Overwrite an object that still has this tag, and return the new tag. Raises ChangedError."""

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""

    def names(self, folder: str) -> list[str]:
        """The names directly in a folder, sorted; empty when there is no such folder."""

    def download(self, folder: str, into: Path) -> list[str]:
        """Copy everything below a folder. Returns the relative paths written."""
