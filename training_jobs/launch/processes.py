"""Starts a node's processes, which die with launch. Keeps their last lines of output, and kills their descendants."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from .descendants import kill_adopted, reap_orphans
from .output import OutputPump, write_all

__all__ = ["TAIL_LINES", "NodeProcess", "OutputTail", "shim_command"]

TAIL_LINES = 30
_TAIL_LINE_BYTES = 4096
"""Longest line in bytes in a tail: the tail becomes a part of the node's result document."""
_SHIM = str(Path(__file__).with_name("parent_death_shim.py"))


def shim_command(parent: int) -> list[str]:
    """Return a prefix for a command. The kernel then kills the command when the process `parent` dies."""
    return [sys.executable, "-I", "-S", _SHIM, str(parent)]


class OutputTail:
    """Writes lines to this process's stdout and keeps the last lines."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix.encode()
        self._last: deque[bytes] = deque(maxlen=TAIL_LINES)

    def write(self, lines: list[bytes]) -> None:
        """Write lines with the prefix to this process's stdout. Keep the last TAIL_LINES lines."""
        self._last.extend(line[-_TAIL_LINE_BYTES:] for line in lines[-TAIL_LINES:])
        write_all(1, b"".join(self._prefix + line + b"\n" for line in lines))

    def lines(self) -> list[str]:
        """Return the last lines as text."""
        return [line.decode(errors="replace") for line in self._last]


class NodeProcess:
    """A process of this node in its own session. Start it from the main thread, because Linux kills it when the starting thread ends."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, *, keep_tail: bool = False, pass_fds: Sequence[int] = ()
    ) -> None:
        self._tail = OutputTail()
        read_end, write_end = os.pipe() if keep_tail else (-1, -1)
        self._process = subprocess.Popen(
            [*shim_command(os.getpid()), *command],
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=write_end if keep_tail else None,
            stderr=write_end if keep_tail else None,
        )
        self._pump = OutputPump(read_end, self._tail.write) if keep_tail else None
        if keep_tail:
            os.close(write_end)

    @property
    def return_code(self) -> int | None:
        """The return code as subprocess reports it (-9 = killed by signal 9); None while the process runs."""
        reap_orphans((self._process.pid,))
        return self._process.poll()

    def tail(self) -> list[str]:
        """Return the last lines of output. Call `terminate` first."""
        return self._tail.lines()

    def terminate(self, grace_s: float) -> None:
        """Send SIGTERM, wait `grace_s` seconds, kill all its descendants, and pass on the rest of the output."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its remaining children
        kill_adopted((self._process.pid,))  # descendants that left its session
        if self._pump:
            self._pump.drain()
