"""The containers of one fake job as processes: output line by line, exit codes, stop with a grace period, no remaining process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def addresses(count: int, number: int) -> list[str]:
    """Return addresses of this machine for the nodes of a fake's job. `number`: the job's number. Only Linux has one address per node."""
    if sys.platform != "linux":
        return ["127.0.0.1"] * count
    return [f"127.{100 + os.getpid() % 100}.{number % 250}.{10 + node}" for node in range(count)]


class Containers:
    """Processes in the order of their nodes."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pumps: list[threading.Thread] = []

    def start(self, argv: Sequence[str], env: Mapping[str, str], folder: Path, write_line: Callable[[str], None]) -> None:
        """Start the process of the next node, in a folder of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        base = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        process = subprocess.Popen(
            argv, env={**base, **env}, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        pump = threading.Thread(target=_pump, args=(process, write_line), daemon=True)
        pump.start()
        self._processes.append(process)
        self._pumps.append(pump)

    @property
    def codes(self) -> list[int | None]:
        """Each node's exit code as a shell reports it; None while the process runs."""
        found = [process.poll() for process in self._processes]
        return [code if code is None or code >= 0 else 128 - code for code in found]

    def warn(self, process: subprocess.Popen[bytes]) -> None:
        """Send SIGTERM to the first process, as container runtimes do."""
        process.send_signal(signal.SIGTERM)

    def end(self, grace_s: float) -> None:
        """Send SIGTERM to the running processes, and SIGKILL after the grace period."""
        for process in self._processes:
            if process.poll() is None:
                self.warn(process)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes):
            time.sleep(0.02)
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a container ends with all processes in it
            process.wait()
        for pump in self._pumps:
            pump.join(30)


class EqualContainers(Containers):
    """Containers of equal rank: when one fails, the job has failed."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: int | None = None
        """The exit code of the first container that failed, as a shell reports it."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended: all containers have exited, or one has failed."""
        codes = self.codes  # read once: a process that fails between two reads would count as ended and not as failed
        if self.failed is None:
            self.failed = next((code for code in codes if code), None)
        return self.failed is not None or all(code is not None for code in codes)


def _pump(process: subprocess.Popen[bytes], write_line: Callable[[str], None]) -> None:
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            write_line(line.decode("utf-8", "replace").rstrip("\n"))
