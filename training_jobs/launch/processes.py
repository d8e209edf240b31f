"""Starts a node's commands under the shim, keeps the last lines of what they say, and ends them for certain."""

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

TAIL_LINES = 30
_SHIM = str(Path(__file__).with_name("parent_death_shim.py"))


def shim(parent: int) -> list[str]:
    """The words before a command that tie its life to the process `parent`."""
    return [sys.executable, "-I", "-S", _SHIM, str(parent)]


class Child:
    """A command of this node in a session of its own. Start it from the main thread: Linux ties its life to the thread."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, *, keep_tail: bool = False, pass_fds: Sequence[int] = ()
    ) -> None:
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process = subprocess.Popen(
            [*shim(os.getpid()), *command],
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if keep_tail else None,
            stderr=subprocess.STDOUT if keep_tail else None,
        )
        self._pump = threading.Thread(target=self._copy, daemon=True) if keep_tail else None
        if self._pump:
            self._pump.start()

    @property
    def code(self) -> int | None:
        """The return code as subprocess has it (-9 = killed by signal 9); None while it runs."""
        return self._process.poll()

    def tail(self) -> list[str]:
        """The last lines it said, once it has ended."""
        if self._pump:
            self._pump.join(timeout=2)  # a grandchild may hold the pipe open
        return list(self._tail)

    def end(self, patience_s: float) -> None:
        """SIGTERM, patience, SIGKILL for its whole session."""
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 10.0)):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it left behind

    def _copy(self) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        for raw in pipe:
            line = raw.decode(errors="replace").rstrip("\n")
            self._tail.append(line)
            print(line, flush=True)
