"""Write downloaded objects as files below a folder: under names that a folder can hold, in one step, and never through a link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ..errors import UsageError

__all__ = ["OnLeftOut", "file_names", "ignore_left_out", "write_below"]

_LONGEST = 240
"""Largest number of bytes between two slashes of a name. File systems allow 255, and a suffix may follow."""
_SUFFIX = ".object"

OnLeftOut = Callable[[str], None]
"""Called with a line for each object that is not copied: its name and the reason."""


def ignore_left_out(line: str) -> None:
    """Do nothing."""


def file_names(names: Sequence[str], on_left_out: OnLeftOut) -> dict[str, str]:
    """Return the file name of each object, by the object's name.

    A bucket may hold the objects `a` and `a/b`; a folder cannot, so `a` becomes `a.object`. A name that no file can have is left out.
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
        return "its name would leave the folder"
    if "\0" in name or any(len(os.fsencode(part)) > _LONGEST for part in parts):
        return "a file cannot have this name"
    return None


def write_below(into: Path, name: str, write: Callable[[Path], bool]) -> bool:
    """Create the file `name` below `into`, or replace a file or a link of that name. `write` gets a new path beside it.

    Returns what `write` returns; after False there is no new file. Raises UsageError if a folder in the path is a link.
    """
    into.mkdir(parents=True, exist_ok=True)
    folder = into
    for part in PurePosixPath(name).parent.parts:
        folder /= part
        if folder.is_symlink():
            raise UsageError(f"{folder} is a link, and nothing is written through it; remove it, or choose another folder with --into")
        folder.mkdir(exist_ok=True)
    temporary = folder / f".tmp-{secrets.token_hex(8)}"
    try:
        if not write(temporary):
            return False
        os.replace(temporary, into / name)
        return True
    finally:
        temporary.unlink(missing_ok=True)
