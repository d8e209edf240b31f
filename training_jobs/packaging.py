"""The code tarball: content-addressed and deterministic, so that equal code is uploaded once.

`code/` holds the user's files. `.gpuyard/` holds launch, the trainer when the command names it, and the module
`gpuyard_hook`. Entries are sorted, without times and owners, so equal files give equal archives.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..problems import Problem
from .errors import UsageError

__all__ = ["MAX_BYTES", "Package", "pack"]

MAX_BYTES = 200 * 2**20
_ALWAYS_LEFT_OUT = {".git", ".venv", ".yard", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_HOOK_SHIM = 'import sys\n\nfrom gpuyard.training_jobs.launch import hook\n\nsys.modules["gpuyard_hook"] = hook\n'


@dataclass(frozen=True)
class Package:
    """A packed tarball. `digest` covers what the user runs; `sha256` names the archive, launch included."""

    digest: str
    sha256: str
    data: bytes


def pack(code: Path | None, command: Sequence[str]) -> Package:
    """Pack the user's folder (None = no code) with launch, which starts the job on the nodes.

    Raises UsageError when the folder is missing or above MAX_BYTES.
    """
    user = [(f"code/{name}", data, mode) for name, data, mode in (_user_files(code) if code else ())]
    trainer = list(_own_files("train")) if any(part.startswith("gpuyard.training_jobs.train") for part in command) else []
    digest = hashlib.sha256()
    for name, data, mode in [*user, *trainer]:
        digest.update(f"{name}\0{mode:o}\0{len(data)}\0".encode() + data)
    sha256, archive = _archived([*user, *trainer, *_launch_files()])
    return Package(digest.hexdigest(), sha256, archive)


_newest: dict[str, tuple[str, bytes]] = {}  # the last archive: packing is the slowest part of repeated submits


def _archived(entries: Sequence[tuple[str, bytes, int]]) -> tuple[str, bytes]:
    """Return the sha256 and bytes of the archive of these entries, from the last call where those were equal."""
    content = hashlib.sha256()
    for name, data, mode in entries:
        content.update(f"{name}\0{mode:o}\0{len(data)}\0".encode() + data)
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


def _user_files(folder: Path) -> list[tuple[str, bytes, int]]:
    if not folder.is_dir():
        fix = "code: is relative to the job file"
        raise UsageError("the job's code folder is missing", [Problem("code", "no such folder", str(folder), fix=fix)])
    found = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    total = sum(path.stat().st_size for path in found)
    if total > MAX_BYTES:
        biggest = sorted(found, key=lambda path: -path.stat().st_size)[:5]
        names = ", ".join(f"{path.relative_to(folder)} ({path.stat().st_size / 2**20:.0f} MiB)" for path in biggest)
        fix = f"list data in .gitignore and pass it with data:; the largest files are {names}"
        raise UsageError(
            "the job's code is too large", [Problem("code", "too large", f"{total / 2**20:.0f} MiB", f"<= {MAX_BYTES >> 20} MiB", fix)]
        )
    return [_entry(folder, path) for path in found]


def _entry(folder: Path, path: Path) -> tuple[str, bytes, int]:
    mode = 0o755 if os.access(path, os.X_OK) else 0o644
    return path.relative_to(folder).as_posix(), path.read_bytes(), mode


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that no .gitignore in it names. Links to files are followed, links to folders skipped."""
    from pathspec import GitIgnoreSpec

    specs: dict[Path, GitIgnoreSpec] = {}
    for root, folders, files in os.walk(folder):
        here = Path(root)
        if ".gitignore" in files:
            specs[here] = GitIgnoreSpec.from_lines((here / ".gitignore").read_text(errors="replace").splitlines())

        def ignored(path: Path, suffix: str = "") -> bool:
            verdict = False
            for base, spec in specs.items():
                if path.is_relative_to(base):
                    result = spec.check_file(path.relative_to(base).as_posix() + suffix)
                    verdict = verdict if result.include is None else result.include
            return verdict

        folders[:] = sorted(d for d in folders if d not in _ALWAYS_LEFT_OUT and not ignored(here / d, "/"))
        yield from (here / name for name in files if (here / name).is_file() and not ignored(here / name))


def _archive(entries: Sequence[tuple[str, bytes, int]]) -> bytes:
    raw = io.BytesIO()
    with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=6) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data, mode in sorted(entries):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()
