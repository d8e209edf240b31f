"""Starts a node's processes so that they die with it, keeps their last lines of output, and ends their whole session."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["TAIL_LINES", "NodeProcess", "shim_command"]

TAIL_LINES = 30
_SHIM = str(Path(__file__).with_name("parent_death_shim.py"))


def shim_command(parent: int) -> list[str]:
    """Return the arguments to put before a command so that it is killed when process `parent` dies."""
    return [sys.executable, "-I", "-S", _SHIM, str(parent)]


class NodeProcess:
    """A process of this node in its own session. Start it from the main thread: Linux ties its life to the starting thread."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, *, keep_tail: bool = False, pass_fds: Sequence[int] = ()
    ) -> None:
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process = subprocess.Popen(
            [*shim_command(os.getpid()), *command],
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if keep_tail else None,
            stderr=subprocess.STDOUT if keep_tail else None,
        )
        self._reader = threading.Thread(target=self._copy_output, daemon=True) if keep_tail else None
        if self._reader:
            self._reader.start()

    @property
    def return_code(self) -> int | None:
        """The return code as subprocess reports it (-9 = killed by signal 9); None while the process runs."""
        return self._process.poll()

    def tail(self) -> list[str]:
        """Return the last lines of output of a process that has exited."""
        if self._reader:
            self._reader.join(timeout=2)  # a grandchild may hold the pipe open
        return list(self._tail)

    def terminate(self, grace_s: float) -> None:
        """Send SIGTERM, wait `grace_s` seconds, then kill every process of its session."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its remaining children

    def _copy_output(self) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        for raw in pipe:
            line = raw.decode(errors="replace").rstrip("\n")
            self._tail.append(line)
            print(line, flush=True)
