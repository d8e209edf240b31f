"""The user's cache of engines: one folder per version, created atomically, also by several processes at once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.engine import versions
from tools.engine.search import NotUsableError, check_version

__all__ = ["fill", "folder", "look"]

_SEAL = "complete.json"  # written last, before the rename: names the binary's size and sha256


def folder(cache: Path) -> Path:
    """Return the folder of the pinned engine in this cache."""
    return cache / "engine" / f"v{versions.ENGINE}"


def look(cache: Path) -> str:
    """Return the origin of the cached engine.

    Raises NotUsableError if the engine is missing or incomplete, or if its file has changed since `fill`.
    """
    place = folder(cache)
    try:
        seal = json.loads((place / _SEAL).read_text(encoding="utf-8"))
        digest, _ = _digest(place / "pulumi")
    except (OSError, ValueError) as error:
        raise NotUsableError(f"nothing usable in {place}") from error
    if digest != seal["sha256"]:
        raise NotUsableError(f"{place / 'pulumi'} is damaged: sha256 {digest}, {seal['sha256']} expected")
    check_version(place / "pulumi")
    return str(seal["origin"])


def fill(cache: Path, make: Callable[[Path], str], say: Callable[[str], None]) -> None:
    """Put an engine into the cache. `make` fills an empty folder and returns the origin. A second process waits."""
    place = folder(cache)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place.with_name(f"{place.name}.lock"), say):
        for left in place.parent.glob(f"{place.name}.tmp-*"):  # left by a killed process: this process has the lock
            shutil.rmtree(left, ignore_errors=True)
        try:
            look(cache)
        except NotUsableError:
            shutil.rmtree(place, ignore_errors=True)
        else:
            return  # another process made it in the meantime
        new = place.with_name(f"{place.name}.tmp-{os.getpid()}")
        new.mkdir()
        try:
            origin = make(new)
            check_version(new / "pulumi")
            _seal(new, origin)
            new.rename(place)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _seal(place: Path, origin: str) -> None:
    digest, size = _digest(place / "pulumi")
    text = json.dumps({"version": versions.ENGINE, "origin": origin, "sha256": digest, "size": size}, indent=1)
    (place / _SEAL).write_text(text + "\n", encoding="utf-8")


def _digest(binary: Path) -> tuple[str, int]:
    """Return a file's sha256 and size, synced to disk."""
    with binary.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that downloads or builds the engine")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # the kernel releases the lock, even if this process is killed
