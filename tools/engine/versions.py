"""The supported versions of the engine and of Go. go.mod pins the same, and a test compares them."""

from __future__ import annotations

import re

__all__ = ["ENGINE", "GO", "good_engine", "good_go", "parse"]

ENGINE = "3.259.0"  # the version to download or build; an engine on PATH may be newer, within the same major version
GO = "1.25.11"  # the oldest Go that builds it


def parse(text: str) -> tuple[int, int, int] | None:
    """Return the first version in `text` (`v3.259.0-dev`, `go version go1.26.8 linux/amd64`, `go1.26`), or None."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def good_engine(text: str) -> bool:
    """Return whether an engine of this version runs our programs."""
    have, need = parse(text), parse(ENGINE)
    return have is not None and need is not None and have >= need and have[0] == need[0]


def good_go(text: str) -> bool:
    """Return whether Go of this version builds the engine."""
    have, need = parse(text), parse(GO)
    return have is not None and need is not None and have >= need
