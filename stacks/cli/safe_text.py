"""Make texts of jobs, services and programs safe to print: no control characters, and no line that a CI system runs as a command.

GitHub's runner takes a line that begins with `::` after white space, and `##[` anywhere in a line, as its own command
(actions/runner, src/Runner.Common/ActionCommand.cs, read 2026-12-01). Azure Pipelines takes `##vso[`, TeamCity `##teamcity[`.
"""

from __future__ import annotations

import json
import re

__all__ = ["LineEscaper", "escaped", "json_escaped", "one_line"]

_STYLE = re.compile(r"\x1b\[[0-9;]*[mK]")  # colours, and erasing to the end of the line
_LINE_END = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_HIDDEN = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_INDENT = re.compile("[\\s\u200b\ufeff]*")
_COMMAND_START = re.compile(f"{_INDENT.pattern}:(?=:)")
_COMMAND = re.compile(r"##\w{0,16}(?=\[)")
_TAIL = 32
"""Number of a line's last characters that are kept, to recognise a command that arrives in parts."""


class LineEscaper:
    """Escapes a text that arrives in parts, such as a program's output."""

    def __init__(self) -> None:
        self._tail, self._whole = "", True  # the end of the current line, and whether all before it is white space

    def feed(self, text: str) -> str:
        """Take the next part of the text and return it escaped."""
        plain = _HIDDEN.sub(_code, _LINE_END.sub("\n", _STYLE.sub("", text)))
        return "".join(self._piece(piece) for piece in plain.splitlines(keepends=True))

    def _piece(self, piece: str) -> str:
        """Return a piece of one line, escaped. A command gets a backslash before its last character, so that no system recognises it."""
        line, before = self._tail + piece, len(self._tail)
        if self._whole and (start := _COMMAND_START.match(line)):
            line = f"{start[0]}\\{line[start.end() :]}"
        line = _COMMAND.sub(lambda found: f"{found[0]}\\", line)
        if line.endswith("\n"):
            self._tail, self._whole = "", True
        else:
            self._whole = self._whole and len(_INDENT.sub("", line, count=1)) <= _TAIL
            self._tail = line[-_TAIL:]
        return line[before:]


def escaped(text: str) -> str:
    """Return a text of whole lines, escaped."""
    return LineEscaper().feed(text)


def one_line(text: str) -> str:
    """Return a text, such as a file name, as one line. Escape line breaks too."""
    return escaped(_LINE_BREAK.sub(_code, text))


def json_escaped(text: str, encoding: str = "utf-8") -> str:
    r"""Return JSON with the same meaning, with \u escapes in place of hidden characters and CI commands.

    All characters beyond ASCII are escaped too if `encoding` lacks one of them.
    """
    hidden = re.compile(f"{_HIDDEN.pattern}|[\x85\u2028\u2029]")
    shown = _COMMAND.sub(lambda found: f"#\\u0023{found[0][2:]}", hidden.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
    try:
        shown.encode(encoding)
    except UnicodeEncodeError:
        return re.sub("[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], shown)
    return shown


def _code(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
