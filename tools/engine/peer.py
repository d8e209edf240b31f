"""Find out whether a connection on this machine comes from the parent process. The engine's protocol has no token to check instead."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["PROC_NET", "is_from_process"]

PROC_NET = Path("/proc/net/tcp")
_PEER = re.compile(r"ipv4:127\.0\.0\.1:(\d+)")
_LOCAL, _REMOTE, _INODE = 1, 2, 9  # columns of /proc/net/tcp and tcp6 (with mapped IPv4 addresses): man 5 proc_net


def is_from_process(peer: str, port: int, process: int) -> bool:
    """Return whether `process` owns the client's end of a connection to our `port`. `peer`: the client's end, as gRPC names it
    (ipv4:127.0.0.1:PORT).

    True where there is no /proc, as on macOS: the caller is then not checked.
    """
    if not PROC_NET.exists():
        return True
    match = _PEER.fullmatch(peer)
    if match is None:
        return False
    ports = {_LOCAL: int(match[1]), _REMOTE: port}
    tables = [table for table in (PROC_NET, PROC_NET.with_name("tcp6")) if table.exists()]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    inodes = {row[_INODE] for row in rows if all(row[column].endswith(f"0100007F:{number:04X}") for column, number in ports.items())}
    return any(f"socket:[{inode}]" in _descriptors(process) for inode in inodes)


def _descriptors(process: int) -> set[str]:
    """Return what a process's file descriptors refer to."""
    found = set()
    for link in Path(f"/proc/{process}/fd").glob("*"):
        try:
            found.add(os.readlink(link))
        except OSError:  # closed meanwhile
            continue
    return found
