"""Connects the nodes of a job through node 0: authenticated JSON lines over TCP. It stays open until every node has exited.

The nodes exchange the attempt number, a barrier after setup, stop requests, and each node's result. A node counts as lost if its
connection breaks before it has sent its result, or if it sends a message that messages.py does not define.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping

from .channel_security import Link, NotOfThisRunError, greet_main_node, greet_node
from .hook import BAD_CONFIG, RESUMABLE
from .messages import FROM_MAIN, FROM_NODES, RELAYED, Message, encode, parse_message
from .node_exit import NodeExitError
from .topology import NodePlacement

__all__ = ["ControlChannel", "clock_offset"]

_HELLO_TIMEOUT_S = 5.0
_CLOCK_ROUNDS = 5
_MOST_HELLOS = 64  # connections that node 0 authenticates at the same time


class ControlChannel:
    """This node's connections. `stop`, `stop_s`: another node has requested a stop within these seconds. `exits`: a dict: node -> its
    result. `lost`: a dict: lost node -> reason. `secret`: random text of the submission, the same on all nodes.
    """

    def __init__(self, placement: NodePlacement, run: str, secret: str, stopping: Callable[[], bool]) -> None:
        self.stop = False
        self.stop_s: float | None = None
        self.exits: dict[int, Message] = {}
        self.lost: dict[int, str] = {}
        self._placement, self._run, self._secret, self._stopping = placement, run, secret.encode(), stopping
        self._peers: dict[int, Link] = {}
        # not SimpleQueue: before Python 3.13 its get() can block forever when a signal handler outlasts the timeout
        self._inbox: queue.Queue[tuple[int, Message]] = queue.Queue()
        self._accepting = threading.Lock()
        self._hellos = threading.BoundedSemaphore(_MOST_HELLOS)
        self._clocks: queue.Queue[tuple[float, float]] = queue.Queue()
        self._ready: set[int] = set()
        self._decisions: list[Message] = []

    def connect(self, timeout_s: float) -> None:
        """Connect to the other nodes. Raises NodeExitError (75) at the timeout, or if a stop is requested."""
        deadline = time.monotonic() + timeout_s
        self._accept_all(deadline) if self._placement.rank == 0 else self._connect_to_main(deadline)

    def send(self, kind: str, **content: object) -> None:
        """Send a message to all other nodes. Errors are ignored here: the reading thread handles a broken connection."""
        self._relay(self._placement.rank, encode(kind, self._placement.rank, content))

    def barrier(self, decision: Mapping[str, object] | None) -> Message:
        """Wait for all nodes, then return node 0's decision. Raises NodeExitError if a node exited or a stop is requested."""
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
        """Handle the messages that have arrived. Wait up to `wait_s` seconds for the first one."""
        try:
            if wait_s:
                self._handle(*self._inbox.get(timeout=wait_s))
            while True:
                self._handle(*self._inbox.get_nowait())
        except queue.Empty:
            return

    def measure_clock(self) -> tuple[float, float] | None:
        """Return how many seconds this node's clock is ahead of node 0's, and the largest error of that number.

        None if node 0 does not answer.
        """
        answers = []
        for _ in range(_CLOCK_ROUNDS if self._placement.rank else 0):
            sent = time.time()
            self.send("clock", at=None)
            try:
                at, received = self._clocks.get(timeout=_HELLO_TIMEOUT_S)
            except queue.Empty:
                break
            answers.append(clock_offset(sent, at, received))
        return min(answers, key=lambda answer: answer[1], default=None if self._placement.rank else (0.0, 0.0))

    def all_exited(self) -> bool:
        """Return whether every other node has exited or is lost. If node 0 is lost, return True, because it relays all messages."""
        finished = self.lost.keys() | self.exits.keys()
        return 0 in self.lost or len(finished - {self._placement.rank}) >= self._placement.nodes - 1

    def raise_if_stopped(self) -> None:
        """Raise NodeExitError if the job cannot start: a stop was requested, or a node was lost or failed."""
        if self.stop or self._stopping():
            raise NodeExitError(RESUMABLE, "stopped before the workers were started")
        for node, exit_message in self.exits.items():
            raise NodeExitError(int(exit_message["code"]), f"node {node} exited before the workers were started", interrupted=True)
        for node, reason in self.lost.items():
            raise NodeExitError(RESUMABLE, f"node {node} was lost before the workers were started: {reason}", interrupted=True)

    def close(self) -> None:
        """Close all connections."""
        for peer in self._peers.values():
            peer.shut_down()  # the reading thread closes it

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
                if self._hellos.acquire(blocking=False):
                    threading.Thread(target=self._accept, args=(connection,), daemon=True).start()
                else:
                    connection.close()  # a node of this run tries again

    def _accept(self, connection: socket.socket) -> None:
        """Authenticate a connection in a separate thread, so that a slow client does not delay the nodes."""
        try:
            node, link = greet_node(connection, self._secret, self._run, self._placement.nodes, _HELLO_TIMEOUT_S)
            with self._accepting:
                if node in self._peers:
                    raise NotOfThisRunError("is connected already")
                self._add_peer(node, link)
        except (OSError, NotOfThisRunError):
            connection.close()  # a stranger, or a node of an earlier submission
        finally:
            self._hellos.release()

    def _connect_to_main(self, deadline: float) -> None:
        while True:
            self._check_deadline(deadline, f"node 0 at {self._placement.main_address}:{self._placement.port}")
            try:
                source = (self._placement.address, 0) if self._placement.interface else None
                connection = socket.create_connection((self._placement.main_address, self._placement.port), 2.0, source_address=source)
            except OSError:
                time.sleep(0.1)
                continue
            try:
                link = greet_main_node(connection, self._secret, self._run, self._placement.rank, _HELLO_TIMEOUT_S)
            except (OSError, NotOfThisRunError):
                connection.close()
                time.sleep(0.1)
                continue
            self._add_peer(0, link)
            return

    def _check_deadline(self, deadline: float, peer: str) -> None:
        self.raise_if_stopped()
        if time.monotonic() > deadline:
            raise NodeExitError(RESUMABLE, f"timed out waiting for {peer}; the attempt can be resumed")

    def _add_peer(self, node: int, link: Link) -> None:
        self._peers[node] = link
        threading.Thread(target=self._read, args=(node, link), daemon=True).start()

    def _read(self, node: int, link: Link) -> None:
        reason = "its connection broke"
        try:
            while (text := link.read()) is not None:
                message = parse_message(text, FROM_NODES if self._placement.rank == 0 else FROM_MAIN, self._placement.nodes)
                if message is None or (self._placement.rank == 0 and message["node"] != node):
                    raise NotOfThisRunError("sent a malformed message")
                if message["kind"] == "clock":
                    self._answer_clock(link, message)
                    continue
                if self._placement.rank == 0 and message["kind"] in RELAYED:
                    self._relay(node, text)
                self._inbox.put((int(message["node"]), message))
        except NotOfThisRunError as error:
            reason = f"it {error}"
        except OSError:
            pass
        link.close()
        if self._placement.rank == 0:
            self._relay(node, encode("lost", node, {"reason": reason}))
        self._inbox.put((node, {"kind": "lost", "reason": reason}))

    def _answer_clock(self, link: Link, message: Message) -> None:
        now = time.time()  # in the reader thread: any delay adds to the error
        if self._placement.rank == 0:
            with contextlib.suppress(OSError):
                link.send(encode("clock", 0, {"at": now}))
        elif message["at"] is not None:
            self._clocks.put((float(message["at"]), now))

    def _relay(self, source: int, text: bytes) -> None:
        """Send a line to every connected node except its source. Errors are ignored here: the reading thread reports them."""
        for node, peer in list(self._peers.items()):
            if node != source:
                with contextlib.suppress(OSError):
                    peer.send(text)

    def _handle(self, node: int, message: Message) -> None:
        kind = message.get("kind")
        if kind == "ready":
            self._ready.add(node)
        elif kind == "decision":
            self._decisions.append(message)
        elif kind == "stop":
            self.stop, self.stop_s = True, message["stop_s"]
        elif kind == "exit":
            self.exits[node] = message
        elif kind == "lost" and node not in self.exits:
            self.lost[node] = message["reason"]


def clock_offset(sent: float, at: float, received: float) -> tuple[float, float]:
    """Return how many seconds this clock is ahead of another node's, and the largest error of that number.

    `sent`, `received`: times on this clock. `at`: time on the other clock, read between these two moments.
    """
    return (sent + received) / 2 - at, (received - sent) / 2


def _listener(placement: NodePlacement) -> socket.socket:
    try:
        listener = socket.create_server((placement.main_address, placement.port))
    except OSError as error:
        text = f"cannot listen for the other nodes on {placement.main_address}:{placement.port}: {error.strerror}"
        raise NodeExitError(BAD_CONFIG if isinstance(error, PermissionError) else RESUMABLE, text) from None
    listener.settimeout(0.2)
    return listener
