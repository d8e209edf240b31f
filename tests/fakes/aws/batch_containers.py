"""The containers of one attempt of a fake Batch job: a real process for each node, each on an address of its own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

Write = Callable[[str, str, str], None]


@dataclass
class Node:
    """One container: its command, its address and its exit."""

    index: int
    address: str
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    log: tuple[str, str]
    task: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[bytes] | None = None
    pump: threading.Thread | None = None
    host_lost: bool = False
    error: str | None = None

    @property
    def stream(self) -> str:
        """The name of its log stream, as the awslogs driver forms it."""
        return f"{self.log[1]}/default/{self.task}"

    @property
    def ended(self) -> bool:
        """Whether all its processes have exited and all output is written."""
        return self.error is not None or bool(self.process and self.process.poll() is not None and self.pump and not self.pump.is_alive())

    @property
    def exit_code(self) -> int | None:
        """The container runtime's exit code: 128 + n after a signal, None when the machine was lost."""
        code = None if self.process is None or self.host_lost else self.process.poll()
        return 128 - code if code is not None and code < 0 else code

    def start(self, write: Write) -> None:
        """Start the command with the container's environment alone. Do nothing if the container runtime refuses the container."""
        if self.error is not None:
            return
        self.folder.mkdir(parents=True)
        try:
            self.process = subprocess.Popen(
                self.command, env=dict(self.environment), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self.error = f"CannotStartContainerError: {error.strerror}: {self.command[0]}"
            return
        self.pump = threading.Thread(target=self._copy, args=(write,), daemon=True)
        self.pump.start()

    def signal(self, number: int) -> None:
        """Signal the container's first process. SIGKILL ends every process in the container."""
        if self.process is None or self.process.poll() is not None:
            return
        inside = _inside(self.environment["ECS_CONTAINER_METADATA_URI_V4"]) if number == signal.SIGKILL else []
        self.process.send_signal(number)
        for process in inside:
            with contextlib.suppress(psutil.NoSuchProcess):  # the process may exit meanwhile
                process.kill()

    def _copy(self, write: Write) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                write(self.log[0], self.stream, line.decode("utf-8", "replace").rstrip("\n"))
        self.process.wait()


def _inside(uri: str) -> list[psutil.Process]:
    """Return every process of a container, found by its metadata address in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ECS_CONTAINER_METADATA_URI_V4") == uri:
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass
class Attempt:
    """All nodes of one attempt. When the main node exits, the attempt ends and the other nodes are stopped."""

    nodes: list[Node]
    main: int
    stop_s: float
    started: float = field(default_factory=time.time)
    killing_since: float | None = None

    def start(self, write: Write) -> None:
        """Start the main node first, then the others."""
        others = [node for node in self.nodes if node.index != self.main]
        random.shuffle(others)
        for node in (self.nodes[self.main], *others):
            node.start(write)

    def stop(self) -> None:
        """Send SIGTERM to every container, and SIGKILL after the stop timeout."""
        if self.killing_since is None:
            self.killing_since = time.monotonic()
            for node in self.nodes:
                node.signal(signal.SIGTERM)

    def lose(self, index: int) -> None:
        """Lose the machine of a node with all its processes."""
        self.nodes[index].host_lost = True
        self.nodes[index].signal(signal.SIGKILL)

    def over(self) -> bool:
        """Return whether the attempt has ended. Stops the other nodes once the main node has exited."""
        if self.nodes[self.main].ended:
            self.stop()
        if self.killing_since is not None and time.monotonic() - self.killing_since > self.stop_s:
            self.kill()
        return all(node.ended for node in self.nodes)

    def kill(self) -> None:
        """Kill all containers now."""
        for node in self.nodes:
            node.signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill all containers and wait for their exit."""
        self.kill()
        for node in self.nodes:
            if node.process and node.pump:
                node.process.wait()
                node.pump.join(5)


def addresses(slot: int, count: int) -> list[str]:
    """Return an address for each node that no other job uses. On systems other than Linux, all nodes get 127.0.0.1."""
    wanted = [f"127.0.{1 + slot % 250}.{2 + index}" for index in range(count)]
    try:
        with socket.create_server((wanted[0], 0)):
            return wanted
    except OSError:
        return ["127.0.0.1"] * count


class Containers(ThreadingHTTPServer):
    """The container agent's endpoints: task metadata (version 4) and the credentials of the job role."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Agent)
        self.known: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def environment(self, task: str, address: str, role: str | None) -> dict[str, str]:
        """Return the variables that the agent sets in a container."""
        self.known[task] = address
        url = f"http://127.0.0.1:{self.server_port}"
        found = {"ECS_CONTAINER_METADATA_URI_V4": f"{url}/v4/{task}"}
        # The real agent sets the RELATIVE form, which has a fixed link-local address; this one is on loopback.
        return found | ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/credentials/{task}"} if role else {})


class _Agent(BaseHTTPRequestHandler):
    server: Containers

    def do_GET(self) -> None:
        _, kind, task = self.path.split("/")
        body: dict[str, Any] = {"Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [self.server.known.get(task, "")]}]}
        if kind == "credentials":
            body = {"AccessKeyId": "job-role", "SecretAccessKey": "of-the-job-role", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
        data = json.dumps(body).encode()
        self.send_response(200 if task in self.server.known else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def image_path() -> str:
    """Return the PATH of an image that has this Python as `python` and `python3`."""
    return os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
