"""Lists the objects at a URL with their sizes and digests, and copies each to a file: on disk, S3, Cloud Storage and Blob Storage."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from . import objects
from .hook import BAD_CONFIG
from .node_exit import NodeExitError
from .storage import RetryingFilesystem

__all__ = ["DataObject", "Digest", "find_objects"]

_LONGEST_NAME = 255  # bytes of a file name
_SHA256 = "gpuyardsha256"  # metadata that `gpuyard upload` writes: `gpuyard-sha256`, on Azure `gpuyardsha256`


@dataclass(frozen=True)
class Digest:
    """A digest of an object's content, in hex. `algorithm`: sha256 or md5."""

    algorithm: str
    hex: str

    @classmethod
    def of(cls, path: Path, algorithm: str) -> Digest:
        """Compute the digest of a file."""
        with open(path, "rb") as file:
            return cls(algorithm, hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest())

    def matches(self, path: Path) -> bool:
        """Return whether a file has this digest."""
        return Digest.of(path, self.algorithm) == self


class DataObject(Protocol):
    """An object to copy. `name`: its path below the URL; empty if the URL names the object itself."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102

    @property
    def url(self) -> str: ...  # noqa: D102

    def copy(self, target: Path) -> Digest | None:
        """Write the object to a file. Returns its digest; None if the store has none."""


@dataclass(frozen=True)
class _LocalFile:
    path: Path
    name: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def copy(self, target: Path) -> Digest:
        shutil.copyfile(self.path, target)
        return Digest.of(self.path, "sha256")


@dataclass(frozen=True)
class _RemoteObject:
    base: str
    path: str
    name: str
    size: int
    info: Mapping[str, Any]

    @property
    def url(self) -> str:
        return f"{self.base}/{self.name}".rstrip("/")

    def copy(self, target: Path) -> Digest | None:
        with objects.remote(self.base) as (fs, _):
            retrying = RetryingFilesystem(fs)
            retrying.get_file(self.path, str(target))
            own = retrying.metadata(self.path) if self.base.startswith("s3") else self.info.get("metadata")
        return _digest(own or {}, self.info)


def find_objects(name: str, url: str) -> Sequence[DataObject]:
    """Return the objects below a URL, or the one object that has this URL. `name`: the entry of `data`, for messages.

    Raises NodeExitError (64) if nothing is there, or if an object has a name that no file can have.
    """
    found: Sequence[DataObject] = _local_files(objects.local_path(url)) if objects.is_local(url) else _remote_objects(url.rstrip("/"))
    if not found:
        raise NodeExitError(BAD_CONFIG, f"data.{name}: nothing is there, got {url}; correct the URL")
    names = {each.name for each in found}
    for each in found:
        folders = {"" if parent == PurePosixPath() else parent.as_posix() for parent in PurePosixPath(each.name).parents}
        if not _is_file_name(each.name) or folders & names:
            raise NodeExitError(BAD_CONFIG, f"data.{name}: an object that cannot be a file, got {each.url!r}; rename or remove it")
    return found


def _local_files(root: Path) -> list[_LocalFile]:
    """Return the files at a path. Links to files are followed, links to folders are not."""
    if root.is_file():
        return [_LocalFile(root, "")]
    paths = [Path(parent) / name for parent, _, names in os.walk(root) for name in names]
    return [_LocalFile(path, path.relative_to(root).as_posix()) for path in sorted(paths) if path.is_file()]


def _remote_objects(url: str) -> list[_RemoteObject]:
    with objects.remote(url) as (fs, path):
        root = path.rstrip("/")
        try:
            infos = list(_files(RetryingFilesystem(fs), root))
        except FileNotFoundError:
            return []
    return [_RemoteObject(url, info["name"], info["name"].removeprefix(root).lstrip("/"), int(info["size"]), info) for info in infos]


def _files(fs: RetryingFilesystem, folder: str) -> Iterator[Mapping[str, Any]]:
    """Yield the description of each object below a folder, or of the object that has this path. Markers of folders are left out."""
    for info in fs.ls(folder, detail=True):
        if info["type"] == "directory":
            if info["name"].rstrip("/") != folder:
                yield from _files(fs, info["name"].rstrip("/"))
        elif not info["name"].endswith("/"):
            yield info


def _digest(metadata: Mapping[str, str], info: Mapping[str, Any]) -> Digest | None:
    """Return an object's sha256 if `gpuyard upload` stored it, else the MD5 that Cloud Storage and Blob Storage keep for most objects.

    S3's ETag is not used, because it is no MD5 in a bucket that encrypts with KMS: docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html,
    read on 2026-12-01.
    """
    for key, value in metadata.items():
        if key.lower().replace("-", "").replace("_", "") == _SHA256:
            return Digest("sha256", value)
    encoded = info.get("md5Hash") or getattr(info.get("content_settings"), "content_md5", None)
    if not encoded:
        return None
    return Digest("md5", (base64.b64decode(encoded) if isinstance(encoded, str) else bytes(encoded)).hex())


def _is_file_name(name: str) -> bool:
    parts = name.split("/") if name else []
    return not any(part in ("", ".", "..") or "\0" in part or len(os.fsencode(part)) > _LONGEST_NAME for part in parts)
