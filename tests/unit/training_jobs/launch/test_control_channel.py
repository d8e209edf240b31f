"""The nodes' line to each other: who comes, what is passed on, and how a lost node is noticed."""

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

from gpuyard.training_jobs.launch.control_channel import Meeting, free_port
from gpuyard.training_jobs.launch.node_exit import EndedError
from gpuyard.training_jobs.launch.topology import Place

HOST = "127.0.0.1"


@contextlib.contextmanager
def _meet(nodes: int) -> Iterator[list[Meeting]]:
    port = free_port(HOST)
    meetings = [Meeting(Place(rank, nodes, HOST, HOST, port, "lo"), "r.0", lambda: False) for rank in range(nodes)]
    threads = [threading.Thread(target=meeting.join, args=(10,)) for meeting in meetings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    try:
        yield meetings
    finally:
        _hang_up(*meetings)


def _hang_up(*meetings: Meeting) -> None:
    for meeting in meetings:
        meeting.close()
    for thread in threading.enumerate():
        if "_read" in thread.name:
            thread.join(5)


def _until(meeting: Meeting, what: Callable[[], bool]) -> None:
    for _ in range(100):
        if what():
            return
        meeting.listen(0.1)
    raise AssertionError("nothing was heard")


def test_a_signal_that_outlasts_the_wait_ends_it() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: time.sleep(0.4))  # as a stop that is written to a slow disk
    try:
        with _meet(1) as (alone,):
            word = threading.Timer(10, alone._inbox.put, [(0, {"kind": "stop"})])  # else a wait without end is one
            kick = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1])
            for timer in (word, kick):
                timer.start()
            alone.listen(0.3)
            assert word.is_alive()
            word.cancel()
            for timer in (word, kick):
                timer.join()
            assert not alone.stop
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_node_0_orders_when_all_are_ready_and_passes_everything_on() -> None:
    with _meet(3) as (zero, one, two), ThreadPoolExecutor(2) as pool:
        others = [pool.submit(meeting.agree, None) for meeting in (one, two)]
        assert zero.agree({"attempt": 5}) == {"attempt": 5}
        assert [other.result(5) for other in others] == [{"attempt": 5}, {"attempt": 5}]
        one.tell("stop")
        _until(two, lambda: two.stop)
        _until(zero, lambda: zero.stop)
        two.tell("ended", code=7)
        _until(one, lambda: 2 in one.endings)
        assert one.endings[2]["code"] == 7
        assert not one.everyone_ended()


def test_a_node_that_vanishes_is_lost_for_all_and_one_that_said_goodbye_is_not() -> None:
    with _meet(4) as (zero, one, two, three):
        two.tell("ended", code=0)
        one.close()
        two.close()
        for meeting in (zero, three):
            _until_gone(meeting, {1, 2})
            assert (meeting.lost, set(meeting.endings)) == ({1}, {2})
            with pytest.raises(EndedError):
                meeting.refuse_to_go_on()


def test_clocks_are_compared_with_node_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.training_jobs.launch.control_channel._HELLO_TIMEOUT_S", 0.5)
    with _meet(2) as (zero, one):
        assert zero.clock() == (0.0, 0.0)
        compared = one.clock()
        assert compared is not None
        assert abs(compared[0]) <= compared[1] + 1e-3
        zero.close()
        assert one.clock() is None


def test_strangers_and_other_runs_are_turned_away() -> None:
    port = free_port(HOST)
    zero = Meeting(Place(0, 2, HOST, HOST, port, "lo"), "r.0", lambda: False)
    thread = threading.Thread(target=zero.join, args=(10,))
    thread.start()
    for hello in (b'{"run": "other.0", "node": 1}\n', b"GET / HTTP/1.1\r\n\r\n", b'{"run": "r.0", "node": 7}\n'):
        with _connect(port) as stranger, contextlib.suppress(ConnectionResetError):
            stranger.sendall(hello)
            assert stranger.recv(1) == b""
    one = Meeting(Place(1, 2, HOST, HOST, port, "lo"), "r.0", lambda: False)
    one.join(10)
    thread.join(5)
    assert not thread.is_alive()
    _hang_up(zero, one)


def test_a_gang_that_is_not_complete_and_a_stop_end_the_wait() -> None:
    zero = Meeting(Place(0, 2, HOST, HOST, free_port(HOST), "lo"), "r.0", lambda: False)
    with pytest.raises(EndedError, match=r"node\(s\) \[1\] did not come in time") as late:
        zero.join(0.3)
    assert late.value.code == 75
    one = Meeting(Place(1, 2, HOST, HOST, free_port(HOST), "lo"), "r.0", lambda: True)
    with pytest.raises(EndedError, match="stopped before"):
        one.join(10)


def _until_gone(meeting: Meeting, nodes: set[int]) -> None:
    _until(meeting, lambda: meeting.lost | meeting.endings.keys() == nodes)


def _connect(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection((HOST, port), 5)
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
    raise AssertionError("node 0 does not listen")
