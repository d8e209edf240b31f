"""Write downloaded objects as files below a folder: with valid file names, atomically, and never through a link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..errors import UsageError

__all__ = ["CountedFile", "OnLeftOut", "OnSent", "file_names", "ignore_left_out", "ignore_sent", "write_below"]

_LONGEST = 240
"""Longest file or folder name in bytes. File systems allow 255; the rest is for a suffix."""
_SUFFIX = ".object"

OnLeftOut = Callable[[str], None]
"""Function that gets a line for each object that is not copied: its name and the reason."""


OnSent = Callable[[int], object]
"""Function that gets the number of bytes that were sent since its last call."""


def ignore_left_out(line: str) -> None:
    """Do nothing."""


def ignore_sent(size: int) -> None:
    """Do nothing."""


class CountedFile:
    """A file to upload. It reports how many bytes a client has read. A byte that the client reads again counts once."""

    def __init__(self, file: BinaryIO, on_sent: OnSent) -> None:
        self._file, self._on_sent, self._end = file, on_sent, 0

    def read(self, size: int = -1) -> bytes:
        """Read bytes and report how many are new."""
        found, position = self._file.read(size), self._file.tell()
        if position > self._end:
            self._on_sent(position - self._end)
            self._end = position
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to another position, as a client does to repeat a part."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()


def file_names(names: Sequence[str], on_left_out: OnLeftOut) -> dict[str, str]:
    """Map the name of each object to a file name.

    A bucket can have the objects `a` and `a/b`, but a folder cannot, so `a` becomes `a.object`. Names that no file can have are left
    out.
    """
    usable = []
    for name in names:
        reason = _problem(name)
        if reason is None:
            usable.append(name)
        else:
            on_left_out(f"{name}: {reason}")
    folders = {parent.as_posix() for name in usable for parent in PurePosixPath(name).parents}
    taken, found = {*usable, *folders}, dict[str, str]()
    for name in usable:
        file = name
        while (file != name and file in taken) or file in folders:
            file += _SUFFIX
        taken.add(file)
        found[name] = file
    return found


def _problem(name: str) -> str | None:
    parts = name.split("/")
    if {"", ".", ".."} & set(parts):
        return "its name leads out of the folder"
    try:
        too_long = any(len(os.fsencode(part)) > _LONGEST for part in parts)
    except UnicodeEncodeError:
        too_long = True
    return "no file can have this name" if too_long or "\0" in name else None


def write_below(into: Path, name: str, write: Callable[[Path], bool]) -> bool:
    """Create or replace the file `name` below `into`. `write` writes to a temporary path, which then gets that name.

    Returns the result of `write`; if that is False, nothing is created. Raises UsageError if a folder in the path is a link.
    """
    into.mkdir(parents=True, exist_ok=True)
    folder = into
    for part in PurePosixPath(name).parent.parts:
        folder /= part
        if folder.is_symlink():
            raise UsageError(
                f"{folder} is a link, and gpuyard writes nothing through a link; remove the link, or choose another folder with --into"
            )
        folder.mkdir(exist_ok=True)
    temporary = folder / f".tmp-{secrets.token_hex(8)}"
    try:
        if not write(temporary):
            return False
        os.replace(temporary, into / name)
        return True
    finally:
        temporary.unlink(missing_ok=True)
