"""A Batch node's placement: the service's variables, the container agent and the kernel's routes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gpuyard.training_jobs.launch import address, topology
from gpuyard.training_jobs.launch.address import address_of, interface_of, own_address
from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.topology import NodePlacement, read_placement

MAIN = {
    "GPUYARD_SERVICE": "batch", "AWS_BATCH_JOB_NUM_NODES": "3", "AWS_BATCH_JOB_NODE_INDEX": "0", "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
}  # fmt: skip
CHILD = {**MAIN, "AWS_BATCH_JOB_NODE_INDEX": "2", "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "127.0.9.2"}


class _Agent(BaseHTTPRequestHandler):
    answer: bytes = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    networks = [{"NetworkMode": "awsvpc", "IPv4Addresses": ["127.0.9.4"]}]
    monkeypatch.setattr(_Agent, "answer", json.dumps({"Networks": networks}).encode())
    with HTTPServer(("127.0.0.1", 0), _Agent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v4/task"
        server.shutdown()
        thread.join()


def test_a_child_node_reads_the_main_address_and_asks_the_agent_for_its_own(agent: str) -> None:
    found = read_placement({**CHILD, "ECS_CONTAINER_METADATA_URI_V4": agent})
    assert found == NodePlacement(2, 3, "127.0.9.2", "127.0.9.4", 29400, interface_of("127.0.0.1"))


def test_the_main_node_asks_the_agent_for_its_address(agent: str) -> None:
    found = read_placement({**MAIN, "ECS_CONTAINER_METADATA_URI_V4": agent})
    assert (found.rank, found.main_address, found.address) == (0, "127.0.9.4", "127.0.9.4")


def test_another_main_node_is_still_rank_0(agent: str) -> None:
    env = {**CHILD, "AWS_BATCH_JOB_MAIN_NODE_INDEX": "1", "ECS_CONTAINER_METADATA_URI_V4": agent}
    assert read_placement(env).rank == 1
    assert read_placement({**env, "AWS_BATCH_JOB_NODE_INDEX": "1"}).rank == 0
    assert read_placement({**env, "AWS_BATCH_JOB_NODE_INDEX": "0"}).rank == 2


def test_a_job_of_one_node_has_no_node_variables() -> None:
    assert read_placement({"GPUYARD_SERVICE": "batch"}) == NodePlacement(0, 1, "127.0.0.1", "127.0.0.1", 29400, None)
    assert topology.SERVICES["batch"].cloud == "aws"


@pytest.mark.parametrize("missing", ["AWS_BATCH_JOB_NODE_INDEX", "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"])
def test_a_variable_that_is_missing_is_named(missing: str) -> None:
    with pytest.raises(NodeExitError, match=missing):
        read_placement({name: value for name, value in CHILD.items() if name != missing})


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"Networks": [{"NetworkMode": "host"}]}'])
def test_without_the_agents_answer_the_route_decides(agent: str, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(_Agent, "answer", answer)
    assert own_address({"ECS_CONTAINER_METADATA_URI_V4": agent}, "127.0.0.1") == "127.0.0.1"
    assert own_address({}, "127.0.0.1") == "127.0.0.1"


def test_a_missing_agent_is_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert own_address({"ECS_CONTAINER_METADATA_URI_V4": f"http://127.0.0.1:{port}/v4/t"}, "127.0.0.1") == "127.0.0.1"


def test_the_interface_of_an_address() -> None:
    assert interface_of("127.0.9.4") in ("lo", "lo0")
    assert interface_of("192.0.2.77") is None


def test_a_host_name_counts_only_if_it_is_this_nodes_address() -> None:
    assert address_of("localhost") == "127.0.0.1"
    assert address_of("localhost", loopback=False) is None
    assert address_of("cmle-training-workerpool0-0a1b-0.invalid") is None


@pytest.mark.parametrize(
    ("interfaces", "found"),
    [
        ([("lo", "127.0.0.1"), ("docker0", "172.17.0.1"), ("eth0", "169.254.3.4"), ("eth1", "10.1.2.3")], "10.1.2.3"),
        ([("lo", "127.0.0.1")], "127.0.0.1"),
    ],
)
def test_a_node_without_a_default_route_has_the_address_of_its_interface(
    interfaces: list[tuple[str, str]], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed network has routes to its own subnets only."""
    monkeypatch.setattr(address, "_source_address", lambda towards: "10.9.9.9" if towards == "10.9.0.1" else None)
    monkeypatch.setattr(address, "_interfaces", lambda: interfaces)
    assert own_address({}, None) == found
    assert own_address({}, "10.9.0.1") == "10.9.9.9"  # the route to the peer decides
