"""`gpuyard upload`: copies a file or folder to a bucket of the yard, as data of jobs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .safe_text import one_line

__all__ = ["command"]

_PRINT_EVERY_S = 5.0


def command(
    source: Annotated[Path, typer.Argument(metavar="PATH", help="File or folder to copy.", show_default=False)],
    url: Annotated[
        str, typer.Argument(metavar="yard://BUCKET/PATH", help="Folder in a bucket of the stack, or path of the file.", show_default=False)
    ],
    stack: options.Stack = None,
    targets: options.Targets = None,
    json: options.Json = False,
) -> None:
    """Copy a file or folder to a bucket of the yard. Files that are there with the same content are not sent again."""
    from gpuyard.counts import counted
    from gpuyard.training_jobs.yard_data import files_to_send, yard_folder

    from .documents import UploadDocument, emit
    from .targets import find_targets

    found, where = find_targets(stack, targets)
    place = yard_folder(url, found, where)
    files, left_out = files_to_send(source, url)
    for line in left_out:
        print(f"not sent: {one_line(line)}", file=sys.stderr)
    sent, size = list[str](), sum(file.bytes for file in files)
    print(f"{counted(len(files), 'file')}, {size / 1e6:,.1f} MB", file=sys.stderr)
    progress = _Progress(size)
    for number, file in enumerate(files, 1):
        new = file.send(place, progress.add)
        sent += [file.name] if new else []
        progress.add(0 if new else file.bytes)
        print(f"{number}/{len(files)}  {'sent' if new else 'is there'}  {one_line(file.name or url)}", file=sys.stderr, flush=True)
    if json:
        emit(UploadDocument(url=url, sent=sent, unchanged=len(files) - len(sent), left_out=left_out))
    else:
        print(f"{counted(len(sent), 'file')} sent, {len(files) - len(sent)} unchanged; in a job: data: {{name: {one_line(url)}}}")


class _Progress:
    """Prints every few seconds how much of all files is sent, because one file may take hours. `add` may be called by several threads."""

    def __init__(self, size: int, now: Callable[[], float] = time.monotonic) -> None:
        self._size, self._done, self._now = size, 0, now
        self._printed = now()
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count bytes that were sent, or that were there already."""
        with self._lock:
            self._done += size
            if self._now() - self._printed > _PRINT_EVERY_S:
                self._printed = self._now()
                print(f"{self._done / 1e6:,.1f} of {self._size / 1e6:,.1f} MB", file=sys.stderr, flush=True)
