"""Nodes without bindable names exchange node 0's address through the run's storage."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch.main_address import exchange_address
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import NodePlacement


def placement(rank: int, nodes: int = 2) -> NodePlacement:
    return NodePlacement(rank, nodes, f"127.0.0.{rank + 1}", f"127.0.0.{rank + 1}", 0, None)


def exchange(rank: int, url: str, *, timeout_s: float = 10.0, stop: bool = False) -> NodePlacement:
    return exchange_address(placement(rank), url, timeout_s, lambda: stop, poll_s=0.01)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"{tmp_path.as_uri()}/output/main-1.json"


def test_the_other_nodes_receive_an_address_and_port_that_node_0_can_bind(url: str) -> None:
    received: list[NodePlacement] = []
    waiting = threading.Thread(target=lambda: received.append(exchange(1, url)))
    waiting.start()
    main = exchange(0, url)
    waiting.join(10)
    assert (main.main_address, main.address) == ("127.0.0.1", "127.0.0.1")
    assert (received[0].main_address, received[0].port, received[0].address) == ("127.0.0.1", main.port, "127.0.0.2")
    socket.create_server((main.main_address, main.port)).close()


def test_a_job_of_one_node_writes_nothing(url: str, tmp_path: Path) -> None:
    assert exchange_address(placement(0, nodes=1), url, 0.0, lambda: False) == placement(0, nodes=1)
    assert list(tmp_path.iterdir()) == []


def test_a_second_node_0_is_refused(url: str) -> None:
    exchange(0, url)
    with pytest.raises(NodeExitError, match="another node 0 of this job has started") as refused:
        exchange(0, url)
    assert refused.value.code == 75


@pytest.mark.parametrize(("stop", "message"), [(False, "timed out waiting for node 0's address"), (True, "stopped before")])
def test_a_node_without_node_0_ends_resumable(url: str, stop: bool, message: str) -> None:
    with pytest.raises(NodeExitError, match=message) as refused:
        exchange(1, url, timeout_s=0.02, stop=stop)
    assert refused.value.code == 75


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"address": "evil.example", "port": 1}', b'{"address": "10.0.0.2"}', b"[" * 100_000]
)
def test_a_malformed_document_is_refused(url: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "main-1.json").write_bytes(content)
    with pytest.raises(NodeExitError, match="not an address and a port"):
        exchange(1, url)


def test_the_document_has_the_address_and_the_port(url: str, tmp_path: Path) -> None:
    main = exchange(0, url)
    assert json.loads((tmp_path / "output" / "main-1.json").read_text()) == {"address": "127.0.0.1", "port": main.port}
