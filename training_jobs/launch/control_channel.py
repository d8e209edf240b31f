"""Connects the nodes of a job: JSON lines over TCP through node 0, open until every node has exited.

It carries what torchrun cannot: the attempt number, a barrier after setup, one node's stop request to all others,
and each node's result. A node whose connection breaks before it sent its result is lost.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from .hook import BAD_CONFIG, RESUMABLE
from .node_exit import NodeExitError
from .topology import NodePlacement

__all__ = ["ControlChannel", "Message", "clock_offset", "free_port"]

Message = dict[str, Any]
_HELLO_TIMEOUT_S = 5.0
_CLOCK_ROUNDS = 5


class ControlChannel:
    """This node's connections. `stop` and `stop_s`: another node's stop request and its seconds. `exits`: results by node."""

    def __init__(self, placement: NodePlacement, run: str, stopping: Callable[[], bool]) -> None:
        self.stop = False
        self.stop_s: float | None = None
        self.exits: dict[int, Message] = {}
        self.lost: set[int] = set()
        self._placement, self._run, self._stopping = placement, run, stopping
        self._peers: dict[int, socket.socket] = {}
        # not SimpleQueue: before Python 3.13 its get() can block forever when a signal handler outlasts the timeout
        self._inbox: queue.Queue[tuple[int, Message]] = queue.Queue()
        self._send_lock = threading.Lock()
        self._clocks: queue.Queue[tuple[float, float]] = queue.Queue()
        self._ready: set[int] = set()
        self._decisions: list[Message] = []

    def connect(self, timeout_s: float) -> None:
        """Connect to the other nodes. Raises NodeExitError (75) at the timeout and when a stop is requested."""
        deadline = time.monotonic() + timeout_s
        self._accept_all(deadline) if self._placement.rank == 0 else self._connect_to_main(deadline)

    def send(self, kind: str, **content: Any) -> None:
        """Send a message to all other nodes. A broken connection is handled by its reader."""
        line = (json.dumps({"kind": kind, "node": self._placement.rank, **content}) + "\n").encode()
        for peer in list(self._peers):
            self._send(peer, line)

    def barrier(self, decision: Mapping[str, Any] | None) -> Message:
        """Wait for all nodes, then return node 0's decision. Raises NodeExitError when a node exited or a stop is requested."""
        if self._placement.rank == 0:
            while len(self._ready) < self._placement.nodes - 1:
                self._receive_or_raise()
            self._ready.clear()
            decision = decision or {}
            self.send("decision", decision=decision)
            return dict(decision)
        self.send("ready")
        while not self._decisions:
            self._receive_or_raise()
        return dict(self._decisions.pop(0)["decision"])

    def receive(self, wait_s: float = 0.0) -> None:
        """Handle the messages that have arrived, after waiting up to `wait_s` for the first."""
        try:
            if wait_s:
                self._handle(*self._inbox.get(timeout=wait_s))
            while True:
                self._handle(*self._inbox.get_nowait())
        except queue.Empty:
            return

    def measure_clock(self) -> tuple[float, float] | None:
        """Return the seconds that this node's clock is ahead of node 0's, and the error bound; None when node 0 does not answer."""
        answers = []
        for _ in range(_CLOCK_ROUNDS if self._placement.rank else 0):
            sent = time.time()
            self.send("clock")
            try:
                at, received = self._clocks.get(timeout=_HELLO_TIMEOUT_S)
            except queue.Empty:
                break
            answers.append(clock_offset(sent, at, received))
        return min(answers, key=lambda answer: answer[1], default=None if self._placement.rank else (0.0, 0.0))

    def all_exited(self) -> bool:
        """Return whether every other node has exited or is lost. True also without node 0, which relays all messages."""
        finished = self.lost | self.exits.keys()
        return 0 in self.lost or len(finished - {self._placement.rank}) >= self._placement.nodes - 1

    def raise_if_stopped(self) -> None:
        """Raise NodeExitError when the job cannot start any more: a stop, a lost node, a node that failed."""
        if self.stop or self._stopping():
            raise NodeExitError(RESUMABLE, "stopped before the workers were started")
        for node, exit_message in self.exits.items():
            raise NodeExitError(int(exit_message["code"]), f"node {node} exited before the workers were started", interrupted=True)
        for node in self.lost:
            raise NodeExitError(RESUMABLE, f"node {node} was lost before the workers were started", interrupted=True)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._peers.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # the reader thread closes it

    def _receive_or_raise(self) -> None:
        self.receive(0.1)
        self.raise_if_stopped()

    def _accept_all(self, deadline: float) -> None:
        if self._placement.nodes == 1:
            return
        with _listener(self._placement) as listener:
            while len(self._peers) < self._placement.nodes - 1:
                missing = sorted(set(range(1, self._placement.nodes)) - self._peers.keys())
                self._check_deadline(deadline, f"node(s) {missing}")
                try:
                    connection = listener.accept()[0]
                except TimeoutError:
                    continue
                self._accept(connection)

    def _accept(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_HELLO_TIMEOUT_S)
            with connection.makefile("rb", buffering=0) as lines:
                hello = json.loads(lines.readline(4096))
            node = int(hello["node"])
            if hello["run"] != self._run or not 0 < node < self._placement.nodes or node in self._peers:
                raise ValueError("not a node of this run")
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()  # not a node, or a node of an earlier attempt
            return
        self._add_peer(node, connection)

    def _connect_to_main(self, deadline: float) -> None:
        while True:
            self._check_deadline(deadline, f"node 0 at {self._placement.main_address}:{self._placement.port}")
            try:
                source = (self._placement.address, 0) if self._placement.interface else None
                connection = socket.create_connection((self._placement.main_address, self._placement.port), 2.0, source_address=source)
            except OSError:
                time.sleep(0.1)
                continue
            hello = {"kind": "hello", "run": self._run, "node": self._placement.rank}
            connection.sendall((json.dumps(hello) + "\n").encode())
            self._add_peer(0, connection)
            return

    def _check_deadline(self, deadline: float, peer: str) -> None:
        self.raise_if_stopped()
        if time.monotonic() > deadline:
            raise NodeExitError(RESUMABLE, f"timed out waiting for {peer}; the attempt can be resumed")

    def _add_peer(self, node: int, connection: socket.socket) -> None:
        connection.settimeout(None)
        _keep_alive(connection)
        self._peers[node] = connection
        threading.Thread(target=self._read, args=(node, connection), daemon=True).start()

    def _read(self, node: int, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if message.get("kind") == "clock":
                        self._answer_clock(node, message)
                        continue
                    self._relay(node, line)
                    self._inbox.put((node if self._placement.rank == 0 else int(message["node"]), message))
        except (OSError, ValueError, KeyError):
            pass  # whatever breaks a connection, its node is lost
        self._relay(node, (json.dumps({"kind": "lost", "node": node}) + "\n").encode())
        self._inbox.put((node, {"kind": "lost"}))

    def _answer_clock(self, node: int, message: Message) -> None:
        now = time.time()  # in the reader thread: any delay adds to the error
        if self._placement.rank == 0:
            self._send(node, (json.dumps({"kind": "clock", "at": now}) + "\n").encode())
        else:
            self._clocks.put((float(message["at"]), now))

    def _relay(self, source: int, line: bytes) -> None:
        if self._placement.rank == 0:
            for node in list(self._peers):
                if node != source:
                    self._send(node, line)

    def _send(self, node: int, line: bytes) -> None:
        try:
            with self._send_lock:
                self._peers[node].sendall(line)
        except OSError:
            return  # its reader reports the loss

    def _handle(self, node: int, message: Message) -> None:
        kind = message.get("kind")
        if kind == "ready":
            self._ready.add(node)
        elif kind == "decision":
            self._decisions.append(message)
        elif kind == "stop":
            self.stop, self.stop_s = True, message.get("stop_s")
        elif kind == "exit":
            self.exits[node] = message
        elif kind == "lost" and node not in self.exits:
            self.lost.add(node)


def clock_offset(sent: float, at: float, received: float) -> tuple[float, float]:
    """Return how far the clock that read `sent` and `received` is ahead of the one that read `at` in between, and the largest error."""
    return (sent + received) / 2 - at, (received - sent) / 2


def free_port(address: str) -> int:
    """Return a port that is free at this moment."""
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])


def _listener(placement: NodePlacement) -> socket.socket:
    try:
        listener = socket.create_server((placement.main_address, placement.port))
    except OSError as error:
        text = f"cannot listen for the other nodes on {placement.main_address}:{placement.port}: {error.strerror}"
        raise NodeExitError(BAD_CONFIG if isinstance(error, PermissionError) else RESUMABLE, text) from None
    listener.settimeout(0.2)
    return listener


def _keep_alive(connection: socket.socket) -> None:
    """Make the kernel detect within a minute that the other machine is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
