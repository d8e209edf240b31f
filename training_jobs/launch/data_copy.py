"""Copies the entries of `data` with `mount: copy` to this node's disk, and checks each file. launch starts it as a program before `setup`.

<folder>/<variable>/<last part of the URL>      a file or a folder, as at the URL
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from .data_objects import DataObject, find_objects
from .hook import BAD_CONFIG, DONE
from .node_exit import IO_ERROR, NodeExitError
from .variables import data_variable

__all__ = ["copied_path", "copy_data", "main"]

_AT_ONCE = 8
_REPORT_EVERY_S = 10.0
_TRIES = 2  # downloads of a file whose copy differs from the object


def copied_path(folder: Path, name: str, url: str) -> Path:
    """Return the path of a copy: the value of the entry's variable. `name`: the entry of `data`."""
    return folder / data_variable(name) / (PurePosixPath(urlsplit(url).path).name or "data")


def copy_data(entries: Mapping[str, str], folder: Path) -> None:
    """Copy entries (name -> URL) below a folder.

    Raises NodeExitError if nothing is at a URL, if the disk is too small, or if a copy differs from its object.
    """
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted copy has left
    found = {name: find_objects(name, url) for name, url in entries.items()}
    folder.mkdir(parents=True, mode=0o700)
    _require_space(found, folder)
    for name, objects in found.items():
        target = copied_path(folder, name, entries[name])
        began, total = time.monotonic(), sum(each.size for each in objects)
        checked = _copy_all(name, objects, target, total)
        digests = f"{sum(checked)} of them checked by digest, {len(checked) - sum(checked)} by size"
        took = time.monotonic() - began
        print(f"gpuyard: data.{name}: copied {len(objects)} file(s), {_bytes(total)}, in {took:.0f} s to {target}; {digests}", flush=True)


def _require_space(found: Mapping[str, Iterable[DataObject]], folder: Path) -> None:
    total, free = sum(each.size for objects in found.values() for each in objects), shutil.disk_usage(folder).free
    if total > free:
        fix = "raise disk_gib of the pool, or remove mount: copy"
        raise NodeExitError(BAD_CONFIG, f"data: too large for this node's disk, got {_bytes(total)}, allowed: {_bytes(free)}; {fix}")


def _copy_all(name: str, objects: Iterable[DataObject], target: Path, total: int) -> list[bool]:
    """Copy objects concurrently and print the progress. Returns a bool for each object: whether its digest was compared."""
    checked, done, printed = list[bool](), 0, time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = {pool.submit(_copy, each, target / each.name if each.name else target): each for each in objects}
        try:
            for future in as_completed(futures):
                checked.append(future.result())
                done += futures[future].size
                if time.monotonic() - printed > _REPORT_EVERY_S:
                    printed = time.monotonic()
                    print(f"gpuyard: data.{name}: {_bytes(done)} of {_bytes(total)}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return checked


def _copy(source: DataObject, target: Path) -> bool:
    """Copy an object and compare size and digest. Returns whether the store had a digest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):
        expected = source.copy(target)
        size = target.stat().st_size
        if size == source.size and (expected is None or expected.matches(target)):
            return expected is not None
    wanted = f"{source.size} bytes" + (f", {expected.algorithm} {expected.hex}" if expected else "")
    raise NodeExitError(IO_ERROR, f"{source.url}: the copy differs from the object, got {size} bytes, allowed: {wanted}; run the job again")


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def main() -> int:
    """Copy the entries that a JSON file lists: {"folder": ..., "entries": {name: URL}}. Returns the exit code."""
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    try:
        copy_data(plan["entries"], Path(plan["folder"]))
    except NodeExitError as error:
        print(f"gpuyard: {error}", file=sys.stderr, flush=True)
        return error.code
    except OSError as error:
        print(f"gpuyard: data: cannot be copied: {error}", file=sys.stderr, flush=True)
        return IO_ERROR
    return DONE


if __name__ == "__main__":
    sys.exit(main())
