"""The control channel: connecting, barriers, relayed messages, lost nodes and clocks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpuyard.training_jobs.launch.control_channel import ControlChannel, free_port
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import NodePlacement

HOST = "127.0.0.1"


@contextlib.contextmanager
def _connected(nodes: int) -> Iterator[list[ControlChannel]]:
    port = free_port(HOST)
    channels = [ControlChannel(NodePlacement(rank, nodes, HOST, HOST, port, "lo"), "r.0", lambda: False) for rank in range(nodes)]
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
        one.send("stop")
        _until(two, lambda: two.stop)
        _until(zero, lambda: zero.stop)
        two.send("exit", code=7)
        _until(one, lambda: 2 in one.exits)
        assert one.exits[2]["code"] == 7
        assert not one.all_exited()


def test_only_a_node_that_disconnects_before_its_exit_message_is_lost() -> None:
    with _connected(4) as (zero, one, two, three):
        two.send("exit", code=0)
        one.close()
        two.close()
        for channel in (zero, three):
            _until_finished(channel, {1, 2})
            assert (channel.lost, set(channel.exits)) == ({1}, {2})
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


def test_connections_that_are_not_of_this_run_are_closed() -> None:
    port = free_port(HOST)
    zero = ControlChannel(NodePlacement(0, 2, HOST, HOST, port, "lo"), "r.0", lambda: False)
    thread = threading.Thread(target=zero.connect, args=(10,))
    thread.start()
    for hello in (b'{"run": "other.0", "node": 1}\n', b"GET / HTTP/1.1\r\n\r\n", b'{"run": "r.0", "node": 7}\n'):
        with _connect(port) as stranger, contextlib.suppress(ConnectionResetError):
            stranger.sendall(hello)
            assert stranger.recv(1) == b""
    one = ControlChannel(NodePlacement(1, 2, HOST, HOST, port, "lo"), "r.0", lambda: False)
    one.connect(10)
    thread.join(5)
    assert not thread.is_alive()
    _close(zero, one)


def test_connect_ends_at_the_timeout_and_at_a_stop() -> None:
    zero = ControlChannel(NodePlacement(0, 2, HOST, HOST, free_port(HOST), "lo"), "r.0", lambda: False)
    with pytest.raises(NodeExitError, match=r"timed out waiting for node\(s\) \[1\]; the attempt can be resumed") as late:
        zero.connect(0.3)
    assert late.value.code == 75
    one = ControlChannel(NodePlacement(1, 2, HOST, HOST, free_port(HOST), "lo"), "r.0", lambda: True)
    with pytest.raises(NodeExitError, match="stopped before"):
        one.connect(10)


def _until_finished(channel: ControlChannel, nodes: set[int]) -> None:
    _until(channel, lambda: channel.lost | channel.exits.keys() == nodes)


def _connect(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection((HOST, port), 5)
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
    raise AssertionError("node 0 does not listen")
