"""Packs the code tarball. Equal files give equal tarballs, so that the same code is uploaded only once.

`code/` has the user's files. `.gpuyard/` has launch, the trainer if the command names it, and the module `gpuyard_hook`. Entries are
sorted, without times and owners.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..problems import Problem
from .code_files import CodeFiles, list_code, refuse_unreadable
from .errors import UsageError

__all__ = ["MAX_BYTES", "Package", "pack"]

MAX_BYTES = 200 * 2**20
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"  # github.com/git-lfs/git-lfs, docs/spec.md, read 2026-12-01
_ONLY_POINTER = "the file itself, because only its Git LFS pointer is here; run `git lfs pull`"
_HOOK_SHIM = 'import sys\n\nfrom gpuyard.training_jobs.launch import hook\n\nsys.modules["gpuyard_hook"] = hook\n'


@dataclass(frozen=True)
class Package:
    """A packed tarball.

    `digest` covers the user's files, and the trainer if the command names it. `sha256` covers the whole archive, which also has launch.
    `files` are the names sent, sorted. `left_out` has a line for each file that is not sent although no ignore rule names it, such as
    a link that leaves the folder.
    """

    digest: str
    sha256: str
    data: bytes
    files: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def pack(code: Path | None, command: Sequence[str], *, leave_out: Collection[Path] = ()) -> Package:
    """Pack the user's folder (None = no code) with launch, which starts the job on the nodes.

    `leave_out`: files that are not sent, such as the job file. Raises UsageError when the folder is missing,
    cannot be read, holds no file to send, or is above MAX_BYTES.
    """
    listed = list_code(code, leave_out) if code else CodeFiles({}, [])
    with refuse_unreadable():
        user = list(_user_files(listed))
    pointers = [f"{name.removeprefix('code/')}: {_ONLY_POINTER}" for name, data, _ in user if data.startswith(_LFS_POINTER)]
    trainer = list(_own_files("train")) if any(part.startswith("gpuyard.training_jobs.train") for part in command) else []
    digest = hashlib.sha256()
    for name, data, mode in [*user, *trainer]:
        digest.update(f"{name}\0{mode:o}\0{len(data)}\0".encode(errors="surrogateescape") + data)
    sha256, archive = _archived([*user, *trainer, *_launch_files()])
    return Package(digest.hexdigest(), sha256, archive, tuple(listed.files), (*listed.left_out, *pointers))


_newest: dict[str, tuple[str, bytes]] = {}  # only the last archive: packing is the slowest part of repeated submits


def _archived(entries: Sequence[tuple[str, bytes, int]]) -> tuple[str, bytes]:
    """Pack entries (name, content, mode). Returns the archive's sha256 and bytes. Caches the last archive."""
    content = hashlib.sha256()
    for name, data, mode in entries:
        content.update(f"{name}\0{mode:o}\0{len(data)}\0".encode(errors="surrogateescape") + data)
    if (found := _newest.get(content.hexdigest())) is None:
        archive = _archive(entries)
        found = hashlib.sha256(archive).hexdigest(), archive
        _newest.clear()
        _newest[content.hexdigest()] = found
    return found


@functools.cache
def _launch_files() -> tuple[tuple[str, bytes, int], ...]:
    shim = (".gpuyard/gpuyard_hook.py", _HOOK_SHIM.encode(), 0o644)
    roots = [(f".gpuyard/gpuyard/{folder}__init__.py", b"", 0o644) for folder in ("", "training_jobs/")]
    return (shim, *roots, *_own_files("launch"))


_HERE = Path(__file__).parent


def _own_files(package: str) -> Iterator[tuple[str, bytes, int]]:
    for path in sorted((_HERE / package).rglob("*.py")):
        yield f".gpuyard/gpuyard/training_jobs/{path.relative_to(_HERE).as_posix()}", path.read_bytes(), 0o644


def _user_files(code: CodeFiles) -> Iterator[tuple[str, bytes, int]]:
    total = sum(path.stat().st_size for path in code.files.values())
    if total > MAX_BYTES:
        largest = sorted(code.files.items(), key=lambda file: -file[1].stat().st_size)[:5]
        names = ", ".join(f"{name} ({path.stat().st_size / 2**20:.0f} MiB)" for name, path in largest)
        fix = f"list data in .gitignore and pass it with data:; the largest files are {names}"
        got, allowed = f"{total / 2**20:.0f} MiB", f"<= {MAX_BYTES >> 20} MiB"
        raise UsageError("the job's code is too large", [Problem("code", "too large", got, allowed, fix)])
    for name, path in code.files.items():
        yield f"code/{name}", path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644


def _archive(entries: Sequence[tuple[str, bytes, int]]) -> bytes:
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=6) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data, mode in sorted(entries):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()
