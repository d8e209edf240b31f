"""Stores a run's checkpoints below one URL. A marker, written last, commits a checkpoint. Old checkpoints are deleted.

    <url>/400/state-2-0-0.safetensors   tensors of step 400 that rank 0 wrote in attempt 2
    <url>/400/commit-2.json             written after all of them: their digests, and what a resume needs

Each attempt has its own file names. So an old attempt that still runs cannot overwrite the files of a newer attempt. A resume takes
the checkpoint of the highest attempt, so it ignores files that an old attempt still writes. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .shards import open_filesystem

Buffer = bytes | memoryview
Marker = dict[str, Any]  # JSON of a commit: digests of its files, layout of its tensors, notes of the run
_NUMBER = re.compile("[0-9]{1,18}")
_MARKER = re.compile(r"commit-([0-9]{1,9})\.json")
_TMP_PREFIX = ".tmp-"  # prefix of a file that is being written; a killed process leaves it behind


class SupersededError(Exception):
    """A newer attempt of this run has taken over."""


@dataclass(frozen=True, order=True)
class Commit:
    """One committed checkpoint, ordered by attempt, then by step."""

    attempt: int
    step: int


class CheckpointStore:
    """The checkpoints of a run below one URL, for one attempt."""

    def __init__(self, url: str, attempt: int, keep: int, keep_every: int = 0) -> None:
        self._fs, self._root = open_filesystem(url)
        self._local = urlsplit(url).scheme == "file"
        self.attempt, self._keep, self._keep_every = attempt, max(keep, 1), keep_every
        self.best: int | None = None  # the step of the best checkpoint, which is never deleted

    def check_fence(self) -> None:
        """Raise SupersededError if a newer attempt has saved a complete checkpoint. A marker without its files does not count."""
        for commit in self.committed():
            if commit.attempt > self.attempt and self._is_whole(commit):
                found = f"attempt {commit.attempt} has saved step {commit.step}"
                raise SupersededError(f"{found}, so this older attempt {self.attempt} exits")

    def _is_whole(self, commit: Commit) -> bool:
        try:
            marker = self.marker(commit)
        except (OSError, ValueError, TypeError, KeyError):
            return False
        return bool(marker["files"]) and marker.get("attempt") == commit.attempt

    def committed(self) -> list[Commit]:
        """Return the committed checkpoints: highest attempt first, then highest step."""
        found = []
        for step, name in self._entries():
            if (number := _MARKER.fullmatch(name)) is not None:
                found.append(Commit(int(number[1]), step))
        return sorted(found, reverse=True)

    def marker(self, commit: Commit) -> Marker:
        """Read a commit's marker. Raises OSError or ValueError if the marker is invalid, or if a file is missing or truncated."""
        folder = f"{self._root}/{commit.step}"
        found: object = json.loads(self._fs.cat_file(f"{folder}/commit-{commit.attempt}.json"))
        marker: Marker = found if isinstance(found, dict) else {}
        if not isinstance(marker.get("files"), dict):
            raise ValueError(f"commit-{commit.attempt}.json of step {commit.step} is not a commit marker")
        sizes = {_base(entry["name"]): entry["size"] for entry in self._fs.ls(folder, detail=True)}
        for name, wants in marker["files"].items():
            if name not in sizes:
                raise ValueError(f"{name} is missing, although its commit marker lists it")
            if sizes[name] != wants["bytes"]:
                raise ValueError(f"{name} has {sizes[name]} bytes, its commit marker says {wants['bytes']}")
        return marker

    def read(self, step: int, name: str, sha256: str) -> bytes:
        """Read a file. Raises OSError, or ValueError if its digest differs from the committed digest."""
        data: bytes = self._fs.cat_file(f"{self._root}/{step}/{name}")
        digest = hashlib.sha256(data).hexdigest()
        if digest != sha256:
            raise ValueError(f"{name}: {len(data)} bytes with sha256 {digest[:12]}, expected {sha256[:12]} as committed")
        return data

    def put(self, step: int, name: str, pieces: Sequence[Buffer]) -> None:
        """Write a file of a step atomically."""
        put(self._fs, f"{self._root}/{step}/{name}", pieces, self._local)

    def commit(self, step: int, marker: Marker) -> None:
        """Write the marker, then delete old checkpoints."""
        self.put(step, f"commit-{self.attempt}.json", [json.dumps({**marker, "step": step, "attempt": self.attempt}).encode()])
        self.delete_old()

    def delete_old(self) -> None:
        """Delete old checkpoints, their markers first.

        It keeps the newest `keep` checkpoints, the multiples of `keep_every`, the best checkpoint, and files of newer attempts.
        """
        found = [commit for commit in self.committed() if commit.attempt <= self.attempt]
        kept = {(commit.step, commit.attempt) for commit in found[: self._keep]}
        kept |= {(c.step, c.attempt) for c in found if c.step == self.best or (self._keep_every and c.step % self._keep_every == 0)}
        entries = sorted(self._entries(), key=lambda entry: (not entry[1].startswith("commit-"), entry))
        for step, name in entries:
            attempt = name.removeprefix(_TMP_PREFIX).partition("-")[2].split("-")[0].split(".")[0]
            if _NUMBER.fullmatch(attempt) and int(attempt) <= self.attempt and (step, int(attempt)) not in kept:
                self._fs.rm_file(f"{self._root}/{step}/{name}")
        if self._local:
            for step in {step for step, _ in entries}:
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(f"{self._root}/{step}")

    def _entries(self) -> Iterator[tuple[int, str]]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for folder in self._names(self._root):
                if _NUMBER.fullmatch(folder):
                    for name in self._names(f"{self._root}/{folder}"):
                        yield int(folder), name

    def _names(self, folder: str) -> list[str]:
        return [_base(path) for path in self._fs.ls(folder, detail=False)]


def _base(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def put(fs: Any, path: str, pieces: Sequence[Buffer], local: bool) -> None:
    """Write a file atomically. On disk, write a temporary file and rename it; an object store needs no rename."""
    if not local:
        fs.pipe_file(path, b"".join(pieces))
        return
    folder, base = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/{_TMP_PREFIX}{base}"
    try:
        with open(temporary, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
