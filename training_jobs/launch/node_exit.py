"""The end of a node's life as an exception: an exit code and the sentence that explains it."""

from __future__ import annotations

IO_ERROR = 74
"""Storage could not be read or written (sysexits' EX_IOERR); not final, a retry may find it well."""

OUT_OF_TIME = 124
"""The time limit over all starts is used up (timeout's own code); no service may start the nodes again."""


class EndedError(Exception):
    """This node's work is over with `code`; `cut` when another node or a signal is the cause."""

    def __init__(self, code: int, text: str, *, cut: bool = False, tail: list[str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.cut = cut
        self.tail = tail if tail is not None else [f"gpuyard: {text}"]
