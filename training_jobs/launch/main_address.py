"""Exchanges node 0's address through the run bucket. Some services give node 0 only a name that node 0 itself cannot bind."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from . import objects
from .hook import RESUMABLE
from .node_exit import NodeExitError
from .topology import NodePlacement

__all__ = ["exchange_address"]

_POLL_S = 2.0


def exchange_address(
    placement: NodePlacement, url: str, timeout_s: float, stopping: Callable[[], bool], poll_s: float = _POLL_S
) -> NodePlacement:
    """On node 0, write its address and port to the object `url`. On other nodes, wait for them. Returns the placement with both.

    The object's name must be new for each start of the nodes. Raises NodeExitError (75) at the timeout, if a stop is requested, or if
    another node 0 has already written the object.
    """
    if placement.nodes == 1:
        return placement
    return _published(placement, url) if placement.rank == 0 else _received(placement, url, time.monotonic() + timeout_s, stopping, poll_s)


def _published(placement: NodePlacement, url: str) -> NodePlacement:
    port = placement.port or _free_port(placement.address)
    if not objects.create(url, json.dumps({"address": placement.address, "port": port}).encode()):
        raise NodeExitError(RESUMABLE, f"{url} exists already: another node 0 of this job has started")
    return replace(placement, main_address=placement.address, port=port)


def _received(placement: NodePlacement, url: str, deadline: float, stopping: Callable[[], bool], poll_s: float) -> NodePlacement:
    while True:
        if stopping():
            raise NodeExitError(RESUMABLE, "stopped before the workers were started")
        content = objects.read(url)
        if content is not None:
            return _with_address(placement, url, content)
        if time.monotonic() > deadline:
            raise NodeExitError(RESUMABLE, f"timed out waiting for node 0's address in {url}; the attempt can be resumed")
        time.sleep(poll_s)


def _with_address(placement: NodePlacement, url: str, content: bytes) -> NodePlacement:
    try:
        found = json.loads(content)
        address, port = str(ipaddress.ip_address(found["address"])), int(found["port"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NodeExitError(RESUMABLE, f"{url}: not an address and a port, got {content[:80]!r}") from None
    return replace(placement, main_address=address, port=port)


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])
