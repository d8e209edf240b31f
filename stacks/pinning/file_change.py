"""Writes the changed text of a stack file or a job file in one step, and shows the change as a unified diff."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["FileChange", "write_change"]


class FileChange(NamedTuple):
    """The change of a file."""

    changed: bool
    """False: the file already had this text."""
    diff: str
    """Unified diff; empty if nothing changed."""


def write_change(file: Path, before: str, after: str) -> FileChange:
    """Replace the file's text and keep its line breaks. After an interruption, the file has either the old or the new text."""
    if after != before:
        _replace(file, after)
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), file.name, f"{file.name} (pinned)")
    return FileChange(after != before, "".join(line if line.endswith("\n") else f"{line}\n" for line in lines))


def _replace(file: Path, text: str) -> None:
    file = file.resolve()  # replaces the target of a symbolic link, not the link
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(text.encode("utf-8"))
    new.chmod(file.stat().st_mode)
    os.replace(new, file)
