"""Checkpoints that survive what may happen: committed by a marker written last, checked on load, fenced by attempt.

    <url>/400/state-2.safetensors   the tensors of step 400, by attempt 2
    <url>/400/commit-2.json         written after it: digest, step, attempt and what else is needed to go on

Each attempt writes names of its own, so an old attempt that is still alive cannot overwrite a newer one's, and
the order is by attempt first: what it still writes is passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
from safetensors.torch import load, save
from torch import Tensor

State = dict[str, Tensor]


class SupersededError(Exception):
    """A newer attempt of this run has taken over."""


@dataclass(frozen=True, order=True)
class Commit:
    """One committed checkpoint. They are ordered by attempt, then by step."""

    attempt: int
    step: int


class Checkpoints:
    """The checkpoints of a run below one URL, as one attempt sees them."""

    def __init__(self, url: str, attempt: int, keep: int) -> None:
        local = urlsplit(url).scheme == "file"
        self._fs, self._root = fsspec.core.url_to_fs(unquote(urlsplit(url).path) if local else url)
        self._local = local
        self._attempt, self._keep = attempt, max(keep, 1)

    def save(self, step: int, state: State, notes: dict[str, Any]) -> None:
        """Write a checkpoint, commit it, then drop what is too old.

        Raises SupersededError, or OSError when storage fails; the checkpoints before it are then as they were.
        """
        found = self.committed()
        if found and found[0].attempt > self._attempt:
            raise SupersededError(
                f"attempt {found[0].attempt} has saved step {found[0].step}: this is attempt {self._attempt}, it ends here"
            )
        data = save({name: tensor.contiguous() for name, tensor in state.items()})
        self._put(f"{step}/state-{self._attempt}.safetensors", data)
        marker = {**notes, "step": step, "attempt": self._attempt, "sha256": hashlib.sha256(data).hexdigest()}
        self._put(f"{step}/commit-{self._attempt}.json", json.dumps(marker).encode())
        self._drop_old()

    def committed(self) -> list[Commit]:
        """All that are committed, best first."""
        found = []
        for step, name in self._entries():
            if name.startswith("commit-") and name.endswith(".json"):
                with contextlib.suppress(ValueError):
                    found.append(Commit(int(name[len("commit-") : -len(".json")]), step))
        return sorted(found, reverse=True)

    def newest(self) -> Commit | None:
        """The best one that is whole; each that is not is named and passed over."""
        for commit in self.committed():
            try:
                self.load(commit)
            except (OSError, ValueError, KeyError) as error:
                print(f"checkpoint of step {commit.step} (attempt {commit.attempt}) is damaged, falling back: {error}", flush=True)
            else:
                return commit
        return None

    def load(self, commit: Commit) -> tuple[State, dict[str, Any]]:
        """The tensors and notes of a checkpoint. Raises OSError, ValueError or KeyError when it is not whole."""
        folder = f"{self._root}/{commit.step}"
        marker = json.loads(self._fs.cat_file(f"{folder}/commit-{commit.attempt}.json"))
        data = self._fs.cat_file(f"{folder}/state-{commit.attempt}.safetensors")
        digest = hashlib.sha256(data).hexdigest()
        if digest != marker["sha256"]:
            raise ValueError(f"{len(data)} bytes with sha256 {digest[:12]}, committed was {marker['sha256'][:12]}")
        return load(data), marker

    def _entries(self) -> Iterator[tuple[int, str]]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for folder in self._names(self._root):
                if folder.isdigit():
                    for name in self._names(f"{self._root}/{folder}"):
                        yield int(folder), name

    def _names(self, folder: str) -> list[str]:
        return [
            str(path).rstrip("/").rsplit("/", 1)[-1]
            for path in self._fs.ls(folder, detail=False, **({} if self._local else {"refresh": True}))
        ]

    def _put(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all. On object stores a put is that; on disk it takes a rename."""
        path = f"{self._root}/{name}"
        if not self._local:
            self._fs.pipe_file(path, data)
            return
        folder, base = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        beside = f"{folder}/.tmp-{base}"
        try:
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(beside)

    def _drop_old(self) -> None:
        """Keep the newest few; drop of the others what no newer attempt wrote, markers first."""
        kept = {(commit.step, commit.attempt) for commit in self.committed()[: self._keep]}
        entries = sorted(self._entries(), key=lambda entry: (not entry[1].startswith("commit-"), entry))
        for step, name in entries:
            attempt = name.rpartition("-")[2].split(".")[0]
            if attempt.isdigit() and int(attempt) <= self._attempt and (step, int(attempt)) not in kept:
                self._fs.rm_file(f"{self._root}/{step}/{name}")
        if self._local:
            for step in {step for step, _ in entries}:
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(f"{self._root}/{step}")
