"""Exit codes that only launch uses, and the exception that ends a node with an exit code and a message."""

from __future__ import annotations

__all__ = ["IO_ERROR", "OUT_OF_TIME", "NodeExitError"]

IO_ERROR = 74
"""Storage failed (EX_IOERR of sysexits.h), or the preflight timed out. The run's reason is `infra`: a later attempt may succeed."""

OUT_OF_TIME = 124
"""The job's time limit is used up (the code of timeout(1)). Services must not restart the nodes."""


class NodeExitError(Exception):
    """Ends this node with exit code `code`. `interrupted`: the cause is another node or a stop request."""

    def __init__(self, code: int, text: str, *, interrupted: bool = False, tail: list[str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.interrupted = interrupted
        self.tail = tail if tail is not None else [f"gpuyard: {text}"]
