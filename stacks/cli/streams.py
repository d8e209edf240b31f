"""Guard stdout and stderr: escape every text, and handle closed pipes, full disks and missing characters.

All output of gpuyard passes through these streams, so no text of a job, service or program can move the cursor or run a CI command.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from gpuyard.training_jobs.state import Exit

from .safe_text import LineEscaper, escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["OutputError", "guarded_streams", "program_output_to_stderr", "styled", "terminal", "unescaped"]


class OutputError(Exception):
    """An error while writing to stdout. `exit_code`: 130 if the reader closed the pipe, else 8, because the output is incomplete.

    It is not an OSError, because click turns the OSError of a closed pipe into exit code 1, the code of a failed job.
    """

    def __init__(self, cause: BaseException | None) -> None:
        reader_gone = isinstance(cause, OSError) and cause.errno == errno.EPIPE
        self.exit_code = Exit.INTERRUPTED if reader_gone else Exit.LOST_SIGHT
        text = "the reader closed the pipe" if reader_gone else str(cause or "it is closed")
        super().__init__(f"stdout cannot be written: {text}")


class _Guarded:
    """A text stream that escapes its output. A write error raises OutputError if the stream is `required`; otherwise it is ignored."""

    def __init__(self, stream: TextIO | None, *, required: bool, escape: bool = True) -> None:
        self._stream, self._required, self._escaper = stream, required, LineEscaper() if escape else None

    def write(self, text: str) -> int:
        """Write a text. Escape control characters, CI commands and characters outside the stream's encoding."""
        shown = self._escaper.feed(text) if self._escaper else text
        with self._failures():
            try:
                self._open().write(shown)
            except UnicodeEncodeError:
                encoding = self._open().encoding
                self._open().write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for text in lines:
            self.write(text)

    def unescaped(self) -> _Guarded:
        """Return the same stream without escaping."""
        return _Guarded(self._stream, required=self._required, escape=False)

    def move(self, descriptor: int) -> bool:
        """Write to this descriptor from now on, if the stream writes to descriptor 1. Return whether it did."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if self._open().fileno() == 1:
                self.flush()
                self._stream = open(descriptor, "w", encoding=self._open().encoding, errors=self._open().errors)  # noqa: SIM115
                return True
        return False

    def flush_or_discard(self) -> None:
        """Flush the stream. If this fails, discard what it holds."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError):
            self.discard()

    def discard(self) -> None:
        """Redirect the stream to /dev/null, because the interpreter flushes it at exit and would fail again."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._open().fileno())
            os.close(nowhere)

    def flush(self) -> None:
        """Flush the stream. A closed stream has nothing to flush."""
        with self._failures():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> object:
        if name in {"buffer", "detach"}:  # a way around `write`; click then writes text
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _open(self) -> TextIO:
        if self._stream is None:  # the process was started with a closed descriptor
            raise ValueError("it is closed")
        return self._stream

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError) as error:
            if self._required:
                raise OutputError(error) from error


def _fill_closed_descriptors() -> None:
    """Open /dev/null for each standard stream that is closed. Otherwise a file would get its number, and what C libraries print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard stdout and stderr inside the context, and flush both at its end.

    Prints the error and raises OutputError if stdout cannot be written. Without the flush, the interpreter would find this error only
    when it exits, and would exit with 120.
    """
    _fill_closed_descriptors()
    before = sys.stdout, sys.stderr
    stdout, stderr = _Guarded(before[0], required=True), _Guarded(before[1], required=False)
    sys.stdout, sys.stderr = cast(TextIO, stdout), cast(TextIO, stderr)
    try:
        try:
            yield
        finally:
            stdout.flush()
    except OutputError as error:
        stdout.discard()
        stderr.write(f"error: {error}\n")
        raise
    finally:
        stderr.flush_or_discard()
        sys.stdout, sys.stderr = before


def unescaped(stream: TextIO) -> TextIO:
    """Return a standard stream without escaping, for `logs --raw` and for control sequences of a terminal."""
    return cast(TextIO, stream.unescaped()) if isinstance(stream, _Guarded) else stream


def terminal(stream: TextIO) -> Console:
    """Return a rich console that moves the cursor and colours its lines. Its texts must come from `styled`."""
    from rich.console import Console

    return Console(file=unescaped(stream))


def styled(text: str, style: str = "") -> Text:
    """Return a text for `terminal`, escaped."""
    from rich.text import Text

    return Text(escaped(text), style=style)


class _Bytes(io.RawIOBase):
    """A binary stream that decodes its input and writes it to a guarded text stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._decoder = stream, codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        """Return true."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the text stream, for subprocesses."""
        return self._stream.fileno()

    def write(self, data: object, /) -> int:
        """Write all bytes of a bytes-like object."""
        content = bytes(cast(bytes, data))
        self._stream.write(self._decoder.decode(content))
        return len(content)


@contextlib.contextmanager
def program_output_to_stderr() -> Iterator[None]:
    """Send the output of a user's program, its threads and subprocesses to stderr, so that stdout gets only our document.

    A thread, an exit handler or a subprocess can write to descriptor 1 after the program has ended. Our stdout is therefore moved to
    another descriptor, and descriptor 1 stays redirected. Where `sys.stdout` is not descriptor 1, as in tests, it is restored.
    """
    stdout = sys.stdout
    program = io.TextIOWrapper(cast(BinaryIO, _Bytes(sys.stderr)), encoding="utf-8", errors="backslashreplace", write_through=True)
    with contextlib.redirect_stdout(program), contextlib.redirect_stderr(program):
        stdout.flush()
        try:
            kept = os.dup(1)
            os.dup2(2, 1)
        except OSError:  # stdout or stderr is closed
            yield
            return
        try:
            yield
        finally:
            if not (isinstance(stdout, _Guarded) and stdout.move(kept)):
                os.dup2(kept, 1)
                os.close(kept)
