"""The nodes' line to each other: lines of JSON through node 0, open from the first hello until all have ended.

It carries what torchrun cannot: the attempt's number, a barrier after set-up, a stop for one node that is
a stop for all, and how each node ended. A node whose line breaks before it said so is lost.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from .hook import BAD_CONFIG, RESUMABLE
from .node_exit import EndedError
from .topology import Place

Message = dict[str, Any]
_HELLO_TIMEOUT_S = 5.0
_CLOCK_ROUNDS = 5


class Meeting:
    """This node's end of the line. What the others did is in `stop`, `endings` and `lost`; a stop came with the seconds `given_s`."""

    def __init__(self, place: Place, run: str, stopping: Callable[[], bool]) -> None:
        self.stop = False
        self.given_s: float | None = None
        self.endings: dict[int, Message] = {}
        self.lost: set[int] = set()
        self._place, self._run, self._stopping = place, run, stopping
        self._peers: dict[int, socket.socket] = {}
        # Queue: before Python 3.13 a SimpleQueue waits for ever where handling a signal outlasts what was left of the wait
        self._inbox: queue.Queue[tuple[int, Message]] = queue.Queue()
        self._sending = threading.Lock()
        self._clocks: queue.Queue[tuple[float, float]] = queue.Queue()
        self._ready: set[int] = set()
        self._orders: list[Message] = []

    def join(self, timeout_s: float) -> None:
        """Meet all the others. Raises EndedError (75) when they do not come in time or a stop was asked."""
        deadline = time.monotonic() + timeout_s
        self._gather(deadline) if self._place.rank == 0 else self._call(deadline)

    def tell(self, kind: str, **content: Any) -> None:
        """Tell all the others; who cannot be reached is found lost by the reader."""
        line = (json.dumps({"kind": kind, "node": self._place.rank, **content}) + "\n").encode()
        for peer in list(self._peers):
            self._send(peer, line)

    def agree(self, order: Message | None) -> Message:
        """Wait until all are here, then take node 0's order. Raises EndedError when one ended or a stop was asked."""
        if self._place.rank == 0:
            while len(self._ready) < self._place.nodes - 1:
                self._wait()
            self._ready.clear()
            order = order or {}
            self.tell("order", order=order)
            return order
        self.tell("ready")
        while not self._orders:
            self._wait()
        return dict(self._orders.pop(0)["order"])

    def listen(self, wait_s: float = 0.0) -> None:
        """Take in what the others said, waiting at most so long for the first word."""
        try:
            if wait_s:
                self._note(*self._inbox.get(timeout=wait_s))
            while True:
                self._note(*self._inbox.get_nowait())
        except queue.Empty:
            return

    def clock(self) -> tuple[float, float] | None:
        """Seconds that this node's clock is ahead of node 0's, and how sure that is; None when node 0 does not answer."""
        answers = []
        for _ in range(_CLOCK_ROUNDS if self._place.rank else 0):
            sent = time.time()
            self.tell("clock")
            try:
                at, received = self._clocks.get(timeout=_HELLO_TIMEOUT_S)
            except queue.Empty:
                break
            answers.append(offset(sent, at, received))
        return min(answers, key=lambda answer: answer[1], default=None if self._place.rank else (0.0, 0.0))

    def everyone_ended(self) -> bool:
        """Whether nobody is left to wait for. Behind a lost node 0 nobody can be heard."""
        gone = self.lost | self.endings.keys()
        return 0 in self.lost or len(gone - {self._place.rank}) >= self._place.nodes - 1

    def refuse_to_go_on(self) -> None:
        """Raise EndedError when the job cannot start any more: a stop, a lost node, a node that failed."""
        if self.stop or self._stopping():
            raise EndedError(RESUMABLE, "stopped before the workers were started")
        for node, ending in self.endings.items():
            raise EndedError(int(ending["code"]), f"node {node} ended before the workers were started", cut=True)
        for node in self.lost:
            raise EndedError(RESUMABLE, f"node {node} was lost before the workers were started", cut=True)

    def close(self) -> None:
        """Hang up."""
        for connection in self._peers.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # its reader closes it

    def _wait(self) -> None:
        self.listen(0.1)
        self.refuse_to_go_on()

    def _gather(self, deadline: float) -> None:
        if self._place.nodes == 1:
            return
        with _listener(self._place) as listener:
            while len(self._peers) < self._place.nodes - 1:
                missing = sorted(set(range(1, self._place.nodes)) - self._peers.keys())
                self._check(deadline, f"node(s) {missing} did not come")
                try:
                    connection = listener.accept()[0]
                except TimeoutError:
                    continue
                self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_HELLO_TIMEOUT_S)
            with connection.makefile("rb", buffering=0) as lines:
                hello = json.loads(lines.readline(4096))
            node = int(hello["node"])
            if hello["run"] != self._run or not 0 < node < self._place.nodes or node in self._peers:
                raise ValueError("not one of this run")
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()  # a stranger, or a node of an attempt that is over
            return
        self._adopt(node, connection)

    def _call(self, deadline: float) -> None:
        while True:
            self._check(deadline, f"node 0 at {self._place.main_address}:{self._place.port} did not answer")
            try:
                source = (self._place.address, 0) if self._place.interface else None
                connection = socket.create_connection((self._place.main_address, self._place.port), 2.0, source_address=source)
            except OSError:
                time.sleep(0.1)
                continue
            hello = {"kind": "hello", "run": self._run, "node": self._place.rank}
            connection.sendall((json.dumps(hello) + "\n").encode())
            self._adopt(0, connection)
            return

    def _check(self, deadline: float, what: str) -> None:
        self.refuse_to_go_on()
        if time.monotonic() > deadline:
            raise EndedError(RESUMABLE, f"{what} in time: the gang is not complete")

    def _adopt(self, node: int, connection: socket.socket) -> None:
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
                        self._tell_time(node, message)
                        continue
                    self._relay(node, line)
                    self._inbox.put((node if self._place.rank == 0 else int(message["node"]), message))
        except (OSError, ValueError, KeyError):
            pass  # a broken line is a lost node, whatever broke it
        self._relay(node, (json.dumps({"kind": "lost", "node": node}) + "\n").encode())
        self._inbox.put((node, {"kind": "lost"}))

    def _tell_time(self, node: int, message: Message) -> None:
        now = time.time()  # at once, in the reader's thread: how long it takes is how wrong it is
        if self._place.rank == 0:
            self._send(node, (json.dumps({"kind": "clock", "at": now}) + "\n").encode())
        else:
            self._clocks.put((float(message["at"]), now))

    def _relay(self, source: int, line: bytes) -> None:
        if self._place.rank == 0:
            for node in list(self._peers):
                if node != source:
                    self._send(node, line)

    def _send(self, node: int, line: bytes) -> None:
        try:
            with self._sending:
                self._peers[node].sendall(line)
        except OSError:
            return  # its reader says so

    def _note(self, node: int, message: Message) -> None:
        kind = message.get("kind")
        if kind == "ready":
            self._ready.add(node)
        elif kind == "order":
            self._orders.append(message)
        elif kind == "stop":
            self.stop, self.given_s = True, message.get("given_s")
        elif kind == "ended":
            self.endings[node] = message
        elif kind == "lost" and node not in self.endings:
            self.lost.add(node)


def offset(sent: float, at: float, received: float) -> tuple[float, float]:
    """How far a clock that sent and received is ahead of the one that said `at` in between, and the most that can be wrong."""
    return (sent + received) / 2 - at, (received - sent) / 2


def free_port(address: str) -> int:
    """A port that is free at this moment."""
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])


def _listener(place: Place) -> socket.socket:
    try:
        listener = socket.create_server((place.main_address, place.port))
    except OSError as error:
        text = f"cannot listen on {place.main_address}:{place.port} for the other nodes: {error.strerror}"
        raise EndedError(BAD_CONFIG if isinstance(error, PermissionError) else RESUMABLE, text) from None
    listener.settimeout(0.2)
    return listener


def _keep_alive(connection: socket.socket) -> None:
    """Let the kernel notice within a minute that the other machine is gone without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
