"""Finds this node's own address and network interface if its service sets no variable for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["address_of", "interface_of", "own_address"]

_TIMEOUT_S = 5.0
_ANYWHERE = "192.0.2.1"  # reserved for documentation (RFC 5737). No packet is sent: the kernel only chooses a route
_SIOCGIFADDR = 0x8915
_LOCAL_INTERFACES = ("lo", "docker", "br-", "veth", "virbr", "cni", "flannel")


def own_address(env: Mapping[str, str], towards: str | None) -> str:
    """Return this node's address: from AWS's container agent, else the source address of the route to `towards` (None = default route).

    Without such a route, as in a network without egress, return the first address that is not loopback.
    """
    agent = env.get("ECS_CONTAINER_METADATA_URI_V4")
    address = _from_agent(agent) if agent else None
    if address is not None:
        return address
    return _source_address(towards or _ANYWHERE) or _first_address() or "127.0.0.1"  # no network: only a job of one node can run here


def address_of(host: str, *, loopback: bool = True) -> str | None:
    """Resolve a host name. Returns the address if it belongs to this node, else None. `loopback`: whether 127.x counts too."""
    try:
        address = socket.gethostbyname(host)
        socket.create_server((address, 0)).close()
    except OSError:
        return None
    return address if loopback or not address.startswith("127.") else None


def interface_of(address: str) -> str | None:
    """Return the name of the network interface with this address; None if there is no such interface."""
    if address.startswith("127."):
        return "lo0" if sys.platform == "darwin" else "lo"
    return next((name for name, own in _interfaces() if own == address), None)


def _source_address(towards: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _first_address() -> str | None:
    """Return this node's first address. Loopback, link-local and container-bridge addresses do not count."""
    found = [address for name, address in _interfaces() if not name.startswith(_LOCAL_INTERFACES)]
    return next((address for address in found if not address.startswith(("127.", "169.254."))), None)


def _interfaces() -> list[tuple[str, str]]:
    """Return each network interface with its first address, in the kernel's order (Linux)."""
    if sys.platform != "linux":
        return []
    import fcntl

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # no address
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append((name, socket.inet_ntoa(answer[20:24])))
    return found


def _from_agent(uri: str) -> str | None:
    """Return the container's address from AWS's agent (task metadata).

    None if the container uses the host's network, or if the agent fails.
    """
    parts = urlsplit(uri)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)  # without a proxy: the agent is on this machine
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        networks = json.loads(response.read(1 << 20)).get("Networks", []) if response.status == 200 else []
        found = [address for network in networks for address in network.get("IPv4Addresses", [])]
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return None
    finally:
        connection.close()
    return str(found[0]) if found else None
