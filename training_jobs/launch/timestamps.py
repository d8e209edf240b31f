"""Puts the time before each line of a node's output where the service's own logs have no times (GPUYARD_STAMP=1)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

__all__ = ["timestamped_output"]

_DRAIN_TIMEOUT_S = 5.0  # a remaining process may hold the pipe open


@contextlib.contextmanager
def timestamped_output(env: dict[str, str] | os._Environ[str]) -> Iterator[None]:
    """Write the output of this process and its children, stdout and stderr, as whole lines to stdout, each with its UTC time."""
    if env.get("GPUYARD_STAMP") != "1":
        yield
        return
    stdout = os.dup(1)
    read_end, write_end = os.pipe()
    for stream in (1, 2):
        os.dup2(write_end, stream)
    os.close(write_end)
    thread = threading.Thread(target=_copy_lines, args=(read_end, stdout), daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(stdout, stream)
        thread.join(_DRAIN_TIMEOUT_S)


def _copy_lines(read_end: int, stdout: int) -> None:
    """Copy bytes, not text: a job may print anything."""
    with os.fdopen(read_end, "rb", buffering=0) as source:
        rest = b""
        while block := source.read(65536):
            *lines, rest = (rest + block).split(b"\n")
            _write(stdout, lines)
        _write(stdout, [rest] if rest else [])


def _write(stdout: int, lines: list[bytes]) -> None:
    if lines:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode()
        data = b"".join(at + line + b"\n" for line in lines)
        while data:
            data = data[os.write(stdout, data) :]
