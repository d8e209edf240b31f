"""Free ports of this machine."""

from __future__ import annotations

import socket


def free_port(address: str) -> int:
    """Return a port that is free at this moment."""
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])
