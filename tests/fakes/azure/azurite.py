"""Starts Azurite as Azure Storage: one server per test process, one container per test."""

from __future__ import annotations

import atexit
import base64
import functools
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from tests.fakes.azure.certificates import certificate
from tools.node import packages as node

CHECKOUT = Path(__file__).resolve().parents[3]
ACCOUNT = "gpuyardtests"
ACCOUNT_KEY = base64.b64encode(b"no client of ours may ever use it").decode()


@functools.cache
def port() -> int:
    """Return Azurite's port. The first call starts Azurite, which exits with this process and accepts only bearer tokens."""
    program = node.ensure(CHECKOUT, lambda _: None) / node.AZURITE
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            number = int(free.getsockname()[1])
        if _started(program, number):
            return number
    raise AssertionError("Azurite does not start")


def _started(program: Path, number: int) -> bool:
    """Return whether this process's server is listening; another process may have taken the port."""
    folder, shown = Path(tempfile.mkdtemp(prefix="gpuyard-azurite-")), certificate()
    argv = [
        "node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(number), "--oauth", "basic", "--cert", str(shown.chain),
        "--key", str(shown.key), "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent",
    ]  # fmt: skip
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"}
    process = subprocess.Popen(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(_end, process, folder)
    ours = ssl.create_default_context(cafile=str(shown.authority))
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", number), timeout=5) as plain, ours.wrap_socket(plain, server_hostname="localhost"):
                return True
        except OSError:  # not started yet, or a server with another certificate
            time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
