"""The control channel: connecting, barriers, relayed messages, lost nodes and clocks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.launch.agent_state import AgentState
from gpuyard.training_jobs.launch.channel_security import LINE_LIMIT, NotOfThisRunError, greet_main_node
from gpuyard.training_jobs.launch.control_channel import ControlChannel
from gpuyard.training_jobs.launch.messages import FROM_MAIN, FROM_NODES, encode, parse_hello, parse_message
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import NodePlacement
from tests.helpers.ports import free_port

HOST, SECRET = "127.0.0.1", "of this submission"
EXIT = asdict(AgentState("ended", 0, 1.0, 0))


@contextlib.contextmanager
def _connected(nodes: int) -> Iterator[list[ControlChannel]]:
    port = free_port(HOST)
    channels = [ControlChannel(NodePlacement(rank, nodes, HOST, HOST, port, "lo"), "r.0", SECRET, lambda: False) for rank in range(nodes)]
    threads = [threading.Thread(target=channel.connect, args=(10,)) for channel in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    try:
        yield channels
    finally:
        _close(*channels)


def _close(*channels: ControlChannel) -> None:
    for channel in channels:
        channel.close()
    for thread in threading.enumerate():
        if "_read" in thread.name:
            thread.join(5)


def _until(channel: ControlChannel, condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        channel.receive(0.1)
    raise AssertionError("the condition did not become true")


def test_a_signal_handler_longer_than_the_timeout_does_not_block_receive() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: time.sleep(0.4))  # like a stop request written to a slow disk
    try:
        with _connected(1) as (alone,):
            stop_message = threading.Timer(10, alone._inbox.put, [(0, {"kind": "stop"})])  # ends a wait that would block forever
            send_signal = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1])
            for timer in (stop_message, send_signal):
                timer.start()
            alone.receive(0.3)
            assert stop_message.is_alive()
            stop_message.cancel()
            for timer in (stop_message, send_signal):
                timer.join()
            assert not alone.stop
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_node_0_decides_when_all_nodes_are_ready_and_relays_every_message() -> None:
    with _connected(3) as (zero, one, two), ThreadPoolExecutor(2) as pool:
        others = [pool.submit(channel.barrier, None) for channel in (one, two)]
        assert zero.barrier({"attempt": 5}) == {"attempt": 5}
        assert [other.result(5) for other in others] == [{"attempt": 5}, {"attempt": 5}]
        one.send("stop", stop_s=None)
        _until(two, lambda: two.stop)
        _until(zero, lambda: zero.stop)
        two.send("exit", **{**EXIT, "code": 7})
        _until(one, lambda: 2 in one.exits)
        assert one.exits[2]["code"] == 7
        assert not one.all_exited()


def test_only_a_node_that_disconnects_before_its_exit_message_is_lost() -> None:
    with _connected(4) as (zero, one, two, three):
        two.send("exit", **EXIT)
        one.close()
        two.close()
        for channel in (zero, three):
            _until_finished(channel, {1, 2})
            assert (set(channel.lost), set(channel.exits)) == ({1}, {2})
            with pytest.raises(NodeExitError):
                channel.raise_if_stopped()


def test_a_node_measures_its_clock_against_node_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.training_jobs.launch.control_channel._HELLO_TIMEOUT_S", 0.5)
    with _connected(2) as (zero, one):
        assert zero.measure_clock() == (0.0, 0.0)
        compared = one.measure_clock()
        assert compared is not None
        assert abs(compared[0]) <= compared[1] + 1e-3
        zero.close()
        assert one.measure_clock() is None


MALFORMED = [b'{"node": 1}', b"GET / HTTP/1.1\r", b'{"node": 7, "nonce": "a"}', b"[" * 400, b"[]", b"x" * 600, b"\xff", b'{"node": NaN}']
UNPROVEN = [b'{"node": 1, "nonce": "a"}\n' + answer for answer in (b'{"proof": "00"}', b"[]", b'{"proof": "\\ud800"}')]


def test_connections_that_are_not_of_this_run_are_closed() -> None:
    with _waiting_for_node_1() as (zero, port):
        for hello in (*MALFORMED, *UNPROVEN):
            with _connect(port) as stranger, contextlib.suppress(ConnectionResetError):
                stranger.sendall(hello + b"\n")
                while stranger.recv(4096):
                    pass  # until node 0 closes the connection
        with _connect(port) as stranger, pytest.raises((NotOfThisRunError, OSError)):
            greet_main_node(stranger, b"of another submission", "r.0", 1, 5)
        assert zero._peers == {}
        _join(port).close()


def test_a_slow_stranger_keeps_no_node_out() -> None:
    with _waiting_for_node_1() as (_, port), contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(_connect(port)).sendall(b"{")
        began = time.monotonic()
        _join(port).close()
        assert time.monotonic() - began < 3


def test_a_recorded_handshake_is_of_no_use() -> None:
    """An observer of the network replays all bytes of node 1 to node 0 of the next attempt."""
    sent: list[bytes] = []
    with _waiting_for_node_1() as (_, port):
        connection = _connect(port)
        link = greet_main_node(_Recorded(connection, sent), SECRET.encode(), "r.0", 1, 5)  # type: ignore[arg-type]
        link.send(b'{"kind": "stop", "node": 1, "stop_s": null}')
        connection.close()
    with _waiting_for_node_1() as (zero, port), _connect(port) as stranger:
        with contextlib.suppress(OSError):
            stranger.sendall(b"".join(sent))
            while stranger.recv(4096):
                pass
        assert (zero.stop, zero._peers) == (False, {})
        _join(port).close()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[]", "it sent a malformed message"),
        (b"[" * 4095, "it sent a malformed message"),
        (b'{"kind": "exit", "node": 1, "code": 64}', "it sent a malformed message"),
        (b'{"kind": "ready", "node": 2}', "it sent a malformed message"),
        (b'{"kind": "decision", "node": 1, "decision": {}}', "it sent a malformed message"),
        (b"x" * (LINE_LIMIT + 1), f"it sent a line of more than {LINE_LIMIT} bytes"),
        (None, "it sent a line with a wrong signature"),
    ],
)
def test_a_node_that_sends_anything_else_is_lost_and_reported(line: bytes | None, reason: str) -> None:
    with _connected(3) as (zero, one, two):
        if line is None:
            one._peers[0]._connection.sendall(b"0" * 64 + b' {"kind": "ready", "node": 1}\n')
        else:
            one._peers[0].send(line)
        for channel in (zero, two):
            _until(channel, lambda channel=channel: bool(channel.lost))  # type: ignore[misc]
            assert channel.lost == {1: reason}
        with pytest.raises(NodeExitError, match=f"node 1 was lost before the workers were started: {reason}"):
            zero.raise_if_stopped()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "node", "code", "tail", "x"]), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()))
def test_the_parser_accepts_nothing_else(text: bytes) -> None:
    for kinds in (FROM_NODES, FROM_MAIN):
        message = parse_message(text, kinds, 2)
        assert message is None or (message["kind"] in kinds and message["node"] in (0, 1))
    hello = parse_hello(text, {"proof": str})
    assert hello == {} or isinstance(hello["proof"], str)


@given(
    st.fixed_dictionaries({
        "phase": st.sampled_from(["ended", "interrupted"]), "restarts": st.integers(0, 9), "changed_at": st.floats(0, 2e9),
        "code": st.integers(0, 255), "rank": st.none() | st.integers(0, 99), "signal": st.none() | st.integers(1, 64),
        "tail": st.lists(st.text(max_size=20), max_size=30),
    }),
    st.sampled_from(["phase", "restarts", "changed_at", "code", "tail", "node"]),
    json_values,
)  # fmt: skip
def test_the_parser_accepts_every_result_and_no_wrong_type(state: dict[str, object], key: str, value: object) -> None:
    message = parse_message(encode("exit", 1, state), FROM_NODES, 2)
    assert message == {"kind": "exit", "node": 1, **state}
    wrong = parse_message(encode("exit", 1, {**state, key: value}), FROM_NODES, 2)
    assert wrong is None or type(wrong[key]) in ((int, float) if key == "changed_at" else (type({**state, "node": 1}[key]),))


def test_connect_ends_at_the_timeout_and_at_a_stop() -> None:
    zero = ControlChannel(NodePlacement(0, 2, HOST, HOST, free_port(HOST), "lo"), "r.0", SECRET, lambda: False)
    with pytest.raises(NodeExitError, match=r"timed out waiting for node\(s\) \[1\]; the attempt can be resumed") as late:
        zero.connect(0.3)
    assert late.value.code == 75
    one = ControlChannel(NodePlacement(1, 2, HOST, HOST, free_port(HOST), "lo"), "r.0", SECRET, lambda: True)
    with pytest.raises(NodeExitError, match="stopped before"):
        one.connect(10)


@contextlib.contextmanager
def _waiting_for_node_1() -> Iterator[tuple[ControlChannel, int]]:
    port = free_port(HOST)
    zero = ControlChannel(NodePlacement(0, 2, HOST, HOST, port, "lo"), "r.0", SECRET, lambda: False)
    thread = threading.Thread(target=zero.connect, args=(10,))
    thread.start()
    yield zero, port
    thread.join(12)
    assert not thread.is_alive()
    _close(zero)


def _join(port: int) -> ControlChannel:
    one = ControlChannel(NodePlacement(1, 2, HOST, HOST, port, "lo"), "r.0", SECRET, lambda: False)
    one.connect(10)
    return one


class _Recorded:
    """A connection that keeps what is sent on it."""

    def __init__(self, connection: socket.socket, sent: list[bytes]) -> None:
        self._connection, self._sent = connection, sent

    def sendall(self, data: bytes) -> None:
        self._sent.append(data)
        self._connection.sendall(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


def _until_finished(channel: ControlChannel, nodes: set[int]) -> None:
    _until(channel, lambda: channel.lost.keys() | channel.exits.keys() == nodes)


def _connect(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection((HOST, port), 5)
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
    raise AssertionError("node 0 does not listen")
