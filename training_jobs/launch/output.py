"""Copies the output of processes line by line, with limits on memory, and on the wait for the end of the output.

It copies launch's own output, and the output of the job's command, of each rank, and of each node of a local pool.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

__all__ = ["LINE_LIMIT", "LineSplitter", "OutputPump", "node_output", "write_all"]

LINE_LIMIT = 64 * 1024
"""Longest line in bytes. A longer line becomes several lines, so that no reader needs more memory."""
_BLOCK = 64 * 1024
_QUIET_S = 0.1
_DRAIN_TIMEOUT_S = 60.0
"""Seconds that `drain` waits for a slow reader of the log. Then the rest of the output is lost, but not the job's result."""
_END = re.compile(rb"(\r*\n|\r+)")


class LineSplitter:
    """Splits bytes into lines. A newline, a carriage return, or both together end a line, so each state of a progress bar is a line."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_bar = False  # the rest follows a carriage return
        self._may_skip_newline = False  # the last line ended with a carriage return: a newline after it adds no line

    def feed(self, block: bytes) -> list[bytes]:
        """Add a block of bytes. Returns the lines that are complete, and pieces of a line that is too long."""
        if self._may_skip_newline:
            block = block.lstrip(b"\r")
            if not block:
                return []
            self._may_skip_newline = False
            if block.startswith(b"\n"):
                self._is_bar, block = False, block[1:]
        *parts, rest = _END.split(block)
        lines: list[bytes] = []
        for text, end in zip(parts[::2], parts[1::2], strict=True):
            text, self._rest = self._rest + text, b""
            self._is_bar = not end.endswith(b"\n")
            if text or not self._is_bar:  # a progress bar may begin with a carriage return, before which there is no line
                lines += _cut(text)
        self._rest += rest
        self._may_skip_newline = bool(parts) and self._is_bar and not self._rest
        if len(self._rest) > LINE_LIMIT:
            *full, self._rest = _cut(self._rest)
            lines += full
        return lines

    def end_of_bar(self) -> list[bytes]:
        """Return the unfinished line if it is a progress bar, because its line ends only when the next state begins."""
        if not (self._is_bar and self._rest):
            return []
        self._may_skip_newline = True
        return self.end()

    def end(self) -> list[bytes]:
        """Return the unfinished last line."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class OutputPump:
    """Reads a pipe in a thread and passes on its lines. `drain` ends the thread, which then closes the pipe's read end."""

    def __init__(self, read_end: int, emit: Callable[[list[bytes]], None]) -> None:
        self._read_end, self._emit = read_end, emit
        self._draining = threading.Event()
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Pass on the bytes that are in the pipe, then stop. A process that still has the write end open causes no wait."""
        self._draining.set()
        self._thread.join(_DRAIN_TIMEOUT_S)

    def _run(self) -> None:
        splitter = LineSplitter()
        with contextlib.closing(selectors.DefaultSelector()) as selector:
            selector.register(self._read_end, selectors.EVENT_READ)
            while True:
                draining = self._draining.is_set()  # read the flag before the pipe: what was written before `drain` is still read
                if not selector.select(0 if draining else _QUIET_S):
                    if draining:
                        break
                    self._pass_on(splitter.end_of_bar())
                    continue
                block = os.read(self._read_end, _BLOCK)
                if not block:
                    break
                self._pass_on(splitter.feed(block))
        self._pass_on(splitter.end())
        os.close(self._read_end)

    def _pass_on(self, lines: list[bytes]) -> None:
        with contextlib.suppress(OSError):  # a full disk or a closed log must not block the job's own output
            if lines:
                self._emit(lines)


@contextlib.contextmanager
def node_output(*, stamp: bool, copy: Callable[[bytes], None] | None = None) -> Iterator[None]:
    """Copy stdout and stderr of this process and its children to stdout, line by line.

    `stamp`: begin each line with the UTC time. `copy` also gets the lines, always with their times.
    """
    stdout = os.dup(1)
    read_end, write_end = os.pipe()
    for stream in (1, 2):
        os.dup2(write_end, stream)
    os.close(write_end)

    def emit(lines: list[bytes]) -> None:
        if copy is not None:
            copy(_joined(lines, _time()))
        write_all(stdout, _joined(lines, _time() if stamp else b""))

    pump = OutputPump(read_end, emit)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(stdout, stream)
        pump.drain()


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes to a file descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _time() -> bytes:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode()


def _joined(lines: list[bytes], prefix: bytes) -> bytes:
    return b"".join(prefix + line + b"\n" for line in lines)


def _cut(line: bytes) -> list[bytes]:
    """Cut a line into pieces of at most LINE_LIMIT bytes, never inside a UTF-8 character."""
    pieces = []
    while len(line) > LINE_LIMIT:
        end = LINE_LIMIT
        while end > LINE_LIMIT - 4 and line[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]
