"""Copies a script's local checkpoint folder to GPUYARD_CHECKPOINT_URL, and restores it on every node when an attempt starts.

    <url>/folder/<attempt>/<sha256>                  a file's content; each attempt writes only below its own number
    <url>/folder/node-<attempt>-<number>-<node>.json the files that one node adds to a commit
    <url>/folder/commit-<attempt>-<number>.json      all files of the folder; node 0 writes it last
    <url>/folder/restored-<attempt>-<restart>.json   the files that node 0 restored and the other nodes must restore

A restore takes the newest commit of the highest attempt. So it ignores an old attempt that still writes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, TypeVar

from . import objects

__all__ = ["CheckpointFolder", "File", "Place", "SupersededError", "current"]

_NODES_WAIT_S = 600.0  # longest wait for the other nodes' files, and for node 0's choice of a commit
_POLL_EVERY_S = 0.2
_THREADS = 4
_T = TypeVar("_T")


class SupersededError(Exception):
    """A newer attempt of this run has taken over."""


class File(TypedDict):
    """One file of a commit: digest, size, and the attempt that wrote its content."""

    sha256: str
    bytes: int
    attempt: int


@dataclass(frozen=True)
class Place:
    """The node, local rank, attempt and restart of this process."""

    node: int
    nodes: int
    local_rank: int
    attempt: int
    restart: int

    @classmethod
    def from_env(cls) -> Place:
        """Read the place from the environment variables of launch and torchrun."""
        names = {
            "node": "GPUYARD_NODE_RANK",
            "local_rank": "LOCAL_RANK",
            "attempt": "GPUYARD_ATTEMPT",
            "restart": "TORCHELASTIC_RESTART_COUNT",
        }
        return cls(
            nodes=int(os.environ.get("GPUYARD_NUM_NODES", "1")), **{name: int(os.environ.get(key, "0")) for name, key in names.items()}
        )


class CheckpointFolder:
    """The checkpoint folder of one node and its copy in the run bucket. Only local rank 0 transfers files."""

    def __init__(self, url: str, path: Path, place: Place, keep: int) -> None:
        self.path, self._url, self._place, self._keep = path, f"{url}/folder", place, max(keep, 1)
        self._number = 0  # of the next commit
        self._digests: dict[str, tuple[tuple[int, int], str]] = {}  # file -> (size and modification time, digest)
        self._restored: dict[str, tuple[int, int]] = {}
        self._uploaded: set[str] = set()  # digests of the last save that this attempt has uploaded

    def restore(self) -> None:
        """Restore the newest complete commit and delete all other local files. Every process calls this; local rank 0 does the work."""
        done = self.path.with_name(f".{self.path.name}-restored-{self._place.attempt}-{self._place.restart}")
        if self._place.local_rank:
            _await(lambda: done.exists() or None, f"local rank 0 has not restored {self.path}")
            return
        choice_url = f"{self._url}/restored-{self._place.attempt}-{self._place.restart}.json"
        if self._place.node:
            choice = json.loads(_await(lambda: objects.read(choice_url), f"node 0 has not restored the checkpoint folder ({choice_url})"))
            self._fetch(choice["files"])
        else:
            choice = {
                "files": self._fetch_newest(),
                "number": 1 + max((n for a, n in self._commits() if a == self._place.attempt), default=0),
            }
            objects.write(choice_url, json.dumps(choice).encode())
        self._number = choice["number"]
        self._restored = {name: _stamp(self.path / name) for name in choice["files"]}
        done.touch()

    def save(self) -> bool:
        """Upload the current files. Every process calls this. If storage fails, print a message and return False.

        Raises SupersededError when a newer attempt of the run has saved.
        """
        if self._place.local_rank:
            return True
        number, self._number = self._number, self._number + 1
        try:
            newest, _ = max(self._commits(), default=(0, 0))
            if newest > self._place.attempt:
                raise SupersededError(f"attempt {newest} of this run has saved, so this older attempt {self._place.attempt} exits")
            self._commit(number)
        except (OSError, TimeoutError) as error:
            print(f"gpuyard: cannot save the checkpoint folder: {error}; the last save is intact", file=sys.stderr, flush=True)
            return False
        return True

    def _commit(self, number: int) -> None:
        """Upload this node's files. Node 0 then waits for the other nodes and writes the commit."""
        place = self._place
        names = [name for name in self._names() if place.node == 0 or self._restored.get(name) != _stamp(self.path / name)]
        with ThreadPoolExecutor(_THREADS) as pool:
            files = dict(zip(names, pool.map(self._upload, names), strict=True))
        self._uploaded = {file["sha256"] for file in files.values()}
        prefix = f"{place.attempt}-{number}"
        if place.node:
            objects.write(f"{self._url}/node-{prefix}-{place.node}.json", json.dumps(files).encode())
            return
        merged: dict[str, File] = {}
        for node in range(place.nodes - 1, 0, -1):  # if several nodes wrote a file, the file of the lowest node is used
            url = f"{self._url}/node-{prefix}-{node}.json"
            merged |= json.loads(_await(functools.partial(objects.read, url), f"node {node} has not uploaded its files"))
        objects.write(f"{self._url}/commit-{prefix}.json", json.dumps(merged | files).encode())
        self._delete_old()

    def _upload(self, name: str) -> File:
        path = self.path / name
        stamp = _stamp(path)
        known = self._digests.get(name)
        digest = known[1] if known and known[0] == stamp else _sha256(path)
        self._digests[name] = stamp, digest
        if digest not in self._uploaded:
            objects.upload(self._content(self._place.attempt, digest), path)
        return {"sha256": digest, "bytes": stamp[0], "attempt": self._place.attempt}

    def _fetch_newest(self) -> dict[str, File]:
        """Fetch the newest commit whose files are intact. Returns its files."""
        for attempt, number in sorted(self._commits(), reverse=True):
            try:
                files: dict[str, File] = json.loads(objects.read(self._marker(attempt, number)) or b"")
                self._fetch(files)
                return files
            except ValueError as error:
                print(f"gpuyard: save {number} of attempt {attempt} is damaged, using the previous one: {error}", flush=True)
        self._fetch({})
        return {}

    def _fetch(self, files: dict[str, File]) -> None:
        """Download missing files and delete all others. Raises ValueError if a file is missing or damaged in the run bucket."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in set(self._names()) - files.keys():
            (self.path / name).unlink()
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda item: self._download(*item), files.items()))

    def _download(self, name: str, file: File) -> None:
        path = (self.path / name).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise ValueError(f"the path {name} leads out of the checkpoint folder")
        if path.is_file() and path.stat().st_size == file["bytes"] and _sha256(path) == file["sha256"]:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{path.name}")
        try:
            objects.download(self._content(file["attempt"], file["sha256"]), temporary)
        except FileNotFoundError:
            raise ValueError(f"{name} is missing") from None
        if _sha256(temporary) != file["sha256"]:
            raise ValueError(f"{name} differs from what was saved")
        os.replace(temporary, path)

    def _commits(self) -> list[tuple[int, int]]:
        """Return the attempt and the number of each commit."""
        names = (name.removesuffix(".json").split("-") for name in objects.list_names(self._url) if name.startswith("commit-"))
        return [(int(parts[1]), int(parts[2])) for parts in names if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit()]

    def _delete_old(self) -> None:
        """Delete old commits: the newest `keep` commits stay. Then delete file contents that no remaining commit uses."""
        found = sorted((commit for commit in self._commits() if commit[0] <= self._place.attempt), reverse=True)
        kept, dropped = (self._contents(part) for part in (found[: self._keep], found[self._keep :]))
        for commit in found[self._keep :]:
            objects.remove(self._marker(*commit))
        for url in dropped - kept:
            objects.remove(url)

    def _contents(self, commits: Iterable[tuple[int, int]]) -> set[str]:
        documents = [json.loads(objects.read(self._marker(*commit)) or b"{}") for commit in commits]
        return {self._content(file["attempt"], file["sha256"]) for files in documents for file in files.values()}

    def _names(self) -> list[str]:
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())

    def _content(self, attempt: int, digest: str) -> str:
        return f"{self._url}/{attempt}/{digest}"

    def _marker(self, attempt: int, number: int) -> str:
        return f"{self._url}/commit-{attempt}-{number}.json"


@functools.cache
def current() -> CheckpointFolder | None:
    """Return this process's checkpoint folder and restore it at the first call; None outside gpuyard."""
    url = os.environ.get("GPUYARD_CHECKPOINT_URL")
    if url is None:
        return None
    path = Path(os.environ.get("GPUYARD_WORKDIR") or os.getcwd()) / "checkpoints"
    folder = CheckpointFolder(url, path, Place.from_env(), int(os.environ.get("GPUYARD_CHECKPOINT_KEEP", "3")))
    folder.restore()
    return folder


def _await(poll: Callable[[], _T | None], message: str) -> _T:
    """Call `poll` until its result is not None, and return that result. Raises TimeoutError with `message` after 10 minutes."""
    deadline = time.monotonic() + _NODES_WAIT_S
    while (found := poll()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{message} in {_NODES_WAIT_S:.0f} s")
        time.sleep(_POLL_EVERY_S)
    return found


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
