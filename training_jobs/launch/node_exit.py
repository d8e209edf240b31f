"""Exit codes that only launch uses, and the exception that ends a node with an exit code and a message."""

from __future__ import annotations

__all__ = ["IO_ERROR", "OUT_OF_TIME", "NodeExitError"]

IO_ERROR = 74
"""Storage could not be read or written (EX_IOERR of sysexits.h), or the preflight timed out. A later attempt may succeed: reason infra."""

OUT_OF_TIME = 124
"""The job's time limit is used up (the code of timeout(1)). Services must not restart the nodes."""


class NodeExitError(Exception):
    """Ends this node with `code`. `interrupted`: another node or a stop request is the cause, not this node's own work."""

    def __init__(self, code: int, text: str, *, interrupted: bool = False, tail: list[str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.interrupted = interrupted
        self.tail = tail if tail is not None else [f"gpuyard: {text}"]
