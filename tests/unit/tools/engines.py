"""Fake engines and tools for these tests: small shell scripts that answer as the real programs do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.engine import versions
from tools.engine.search import PIECES


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def engine(folder: Path, version: str = f"v{versions.ENGINE}", pieces: Sequence[str] = PIECES) -> Path:
    for name in pieces:
        script(folder / name, "exit 0")
    return script(folder / "pulumi", f"echo {version}")


def make_engine(place: Path) -> str:
    """Put only the binary into a cache folder, as a build does."""
    engine(place, pieces=())
    return "made by a test"
