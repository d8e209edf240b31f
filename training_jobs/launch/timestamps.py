"""Writes the time before each line of a node's output, where the service's own logs have none (GPUYARD_STAMP=1)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

_LAST_WORDS_S = 5.0  # for what a process that was left behind still holds open


@contextlib.contextmanager
def stamped(env: dict[str, str] | os._Environ[str]) -> Iterator[None]:
    """Inside, what this process and its children write to their output and their errors goes out in whole lines, each with its time."""
    if env.get("GPUYARD_STAMP") != "1":
        yield
        return
    real = os.dup(1)
    outlet, inlet = os.pipe()
    for stream in (1, 2):
        os.dup2(inlet, stream)
    os.close(inlet)
    thread = threading.Thread(target=_pump, args=(outlet, real), daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(real, stream)
        thread.join(_LAST_WORDS_S)


def _pump(outlet: int, real: int) -> None:
    """Read in binary: what a job prints need not be text."""
    with os.fdopen(outlet, "rb", buffering=0) as source:
        rest = b""
        while block := source.read(65536):
            *lines, rest = (rest + block).split(b"\n")
            _write(real, lines)
        _write(real, [rest] if rest else [])


def _write(real: int, lines: list[bytes]) -> None:
    if lines:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode()
        data = b"".join(at + line + b"\n" for line in lines)
        while data:
            data = data[os.write(real, data) :]
