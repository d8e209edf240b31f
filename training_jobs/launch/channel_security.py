"""Authenticates the connections between the nodes of a job, and every line on them, with a secret of the submission.

Each side proves that it knows the secret: it signs random numbers of both sides. So a recorded proof is useless in another connection.
Then each line is `<HMAC-SHA256> <JSON>`. Its HMAC also covers the line's direction and number, which prevents a replay.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
from dataclasses import dataclass

from .messages import parse_hello

__all__ = ["LINE_LIMIT", "Link", "NotOfThisRunError", "greet_main_node", "greet_node"]

LINE_LIMIT = 1 << 20
"""Longest line, in bytes. The longest message is a node's result with the last lines of its log."""
_HELLO_LIMIT = 512
_MAC_SIZE = 64


class NotOfThisRunError(Exception):
    """The other side cannot prove that it belongs to this run, or sent an invalid line."""


@dataclass(frozen=True)
class _Parties:
    """The values that both sides sign: the run, the number of the connecting node, and a random number of each side."""

    run: str
    node: int
    node_nonce: str
    main_nonce: str

    def proof(self, secret: bytes, label: str) -> str:
        """Return the HMAC of these values and a label. The label differs between the two sides."""
        return _mac(secret, label, self.run, str(self.node), self.node_nonce, self.main_nonce)


class Link:
    """An authenticated connection to another node. Only one thread may read; any thread may send."""

    def __init__(self, connection: socket.socket, key: bytes, own: str, other: str) -> None:
        self._connection, self._key, self._own, self._other = connection, key, own, other
        self._lines = connection.makefile("rb")
        self._sent = self._received = 0
        self._lock = threading.Lock()

    def send(self, text: bytes) -> None:
        """Send one line."""
        with self._lock:
            self._connection.sendall(f"{self._sign(self._own, self._sent, text)} ".encode() + text + b"\n")
            self._sent += 1

    def read(self) -> bytes | None:
        """Return the next line; None when the connection was closed. Raises NotOfThisRunError for a line without a valid HMAC."""
        line = self._lines.readline(LINE_LIMIT + 1)
        if not line.endswith(b"\n"):
            if len(line) > LINE_LIMIT:
                raise NotOfThisRunError(f"sent a line of more than {LINE_LIMIT} bytes")
            return None
        mac, text = line[:_MAC_SIZE], line[_MAC_SIZE + 1 : -1]
        if not hmac.compare_digest(mac, self._sign(self._other, self._received, text).encode()):
            raise NotOfThisRunError("sent a line with a wrong signature")
        self._received += 1
        return text

    def shut_down(self) -> None:
        """End the connection in both directions. The thread that reads it then closes it."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._lines.close()
        self._connection.close()

    def _sign(self, direction: str, number: int, text: bytes) -> str:
        return hmac.new(self._key, f"{direction} {number} ".encode() + text, hashlib.sha256).hexdigest()


def greet_node(connection: socket.socket, secret: bytes, run: str, nodes: int, timeout_s: float) -> tuple[int, Link]:
    """Authenticate an incoming connection on node 0. Returns its link and the other node's number. Raises OSError, NotOfThisRunError."""
    deadline = time.monotonic() + timeout_s
    hello = parse_hello(_read_line(connection, deadline), {"node": int, "nonce": str})
    node, nonce = int(hello.get("node", 0)), str(hello.get("nonce", ""))
    if not 0 < node < nodes:
        raise NotOfThisRunError("did not send a valid first message")
    parties = _Parties(run, node, nonce, secrets.token_hex(16))
    _send_line(connection, {"nonce": parties.main_nonce, "proof": parties.proof(secret, "main")}, deadline)
    answer = parse_hello(_read_line(connection, deadline), {"proof": str})
    if not _equal(answer.get("proof"), parties.proof(secret, "node")):
        raise NotOfThisRunError("does not know the submission's secret")
    return node, _link(connection, secret, parties, own="main", other="node")


def greet_main_node(connection: socket.socket, secret: bytes, run: str, node: int, timeout_s: float) -> Link:
    """Authenticate the connection from `node` to node 0. Raises OSError and NotOfThisRunError."""
    deadline, nonce = time.monotonic() + timeout_s, secrets.token_hex(16)
    _send_line(connection, {"node": node, "nonce": nonce}, deadline)
    answer = parse_hello(_read_line(connection, deadline), {"nonce": str, "proof": str})
    parties = _Parties(run, node, nonce, str(answer.get("nonce", "")))
    if not _equal(answer.get("proof"), parties.proof(secret, "main")):
        raise NotOfThisRunError("does not know the submission's secret")
    _send_line(connection, {"proof": parties.proof(secret, "node")}, deadline)
    return _link(connection, secret, parties, own="node", other="main")


def _link(connection: socket.socket, secret: bytes, parties: _Parties, *, own: str, other: str) -> Link:
    connection.settimeout(None)
    _keep_alive(connection)
    return Link(connection, parties.proof(secret, "key").encode(), own, other)


def _read_line(connection: socket.socket, deadline: float) -> bytes:
    """Read one short line byte by byte, to leave the next line unread. Raises TimeoutError at the deadline."""
    line = b""
    while not line.endswith(b"\n"):
        _set_deadline(connection, deadline)
        byte = connection.recv(1)
        if not byte or len(line) > _HELLO_LIMIT:
            raise NotOfThisRunError("did not send a first message")
        line += byte
    return line


def _send_line(connection: socket.socket, document: dict[str, object], deadline: float) -> None:
    _set_deadline(connection, deadline)
    connection.sendall((json.dumps(document) + "\n").encode())


def _set_deadline(connection: socket.socket, deadline: float) -> None:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the first message took too long")
    connection.settimeout(left_s)


def _mac(secret: bytes, *parts: str) -> str:
    return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def _equal(given: object, proof: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), proof.encode())


def _keep_alive(connection: socket.socket) -> None:
    """Make the kernel detect within a minute that the other machine is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
