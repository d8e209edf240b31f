"""What a person or a CI system sees: any text, in any parts, is shown without control characters and CI commands."""

from __future__ import annotations

import ast
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuyard.components.planning.render import _cell
from gpuyard.stacks.cli import logs
from gpuyard.stacks.cli.documents import ErrorDocument, emit
from gpuyard.stacks.cli.safe_text import LineEscaper, escaped, json_escaped, one_line
from gpuyard.stacks.cli.streams import guarded_streams
from gpuyard.training_jobs.backends.base import LogLine

ROOT = Path(__file__).resolve().parents[4]
_BITS = st.sampled_from(
    [":", "::", "::error::x", "##[", "##", "vso", "[", "\r", "\n", " ", "\t", "\x1b[31m", "\x1b]0;x\x07", "\x9b2J", "\u2028", "\u202e",
     "\u200b", "\ud800", "\x00", "é", "|", "`", "\\"]
)  # fmt: skip
_TEXTS = st.lists(_BITS | st.text(max_size=3), max_size=12)


def _bad(text: str) -> list[str]:
    hidden = [char for char in text if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} and char not in "\n\t"]
    commands = [line for line in text.split("\n") if line.strip().strip("\u200b\ufeff").strip().startswith("::")]
    return [*hidden, *commands, *re.findall(r"##\w{0,16}\[", text)]


@given(_TEXTS)
@example([" " * 40, ":", ":error::"])
@example(["\u200b" * 40, ":", ":error::"])
@example(["#", "#", "v" * 16, "["])
def test_no_text_in_any_parts_moves_the_cursor_or_runs_a_command(parts: list[str]) -> None:
    escaper = LineEscaper()
    shown = "".join(map(escaper.feed, parts))
    assert _bad(shown) == []
    assert escaped(shown) == shown


@given(st.text(max_size=30))
def test_printable_texts_are_shown_as_they_are(text: str) -> None:
    if all(char.isprintable() or char in "\n\t" for char in text) and not _bad(text):
        assert escaped(text) == text


@given(st.dictionaries(st.text(max_size=4), _TEXTS.map("".join), max_size=3))
def test_json_keeps_its_meaning(document: dict[str, str]) -> None:
    shown = json_escaped(json.dumps(document, ensure_ascii=False, indent=2))
    assert json.loads(shown) == document
    assert _bad(shown) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_json_is_valid_in_every_encoding(encoding: str) -> None:
    document = {"tail": "café ▇ 日本 😀\x00\u2028"}
    shown = json_escaped(json.dumps(document, ensure_ascii=False), encoding)
    assert json.loads(shown.encode(encoding)) == document


def test_a_document_with_a_name_that_is_not_utf_8_is_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit(ErrorDocument(error="no such file bad\udcff.yaml", exit_code=2, problems=[]))
    assert json.loads(capsys.readouterr().out)["error"] == "no such file bad\udcff.yaml"


@given(_TEXTS.map("".join))
def test_a_file_name_is_one_line(name: str) -> None:
    assert len(one_line(f"a{name}").splitlines()) == 1


@given(_TEXTS.map("".join))
def test_a_markdown_cell_has_no_markup(text: str) -> None:
    cell = _cell(f"@org #12 <img> [x](y) *b* `c` ~~d~~ a|b $x$ {text}")
    plain = re.sub(r"\\[\\`*_\[\]|~$]", "", cell.replace("<!-- -->", " "))
    assert not re.search(r"[`*_\[\]|~$<>\n\r]|(?<!\w)[@#](?=\w)", plain)


class _Runner:
    def logs(self, run: str, **options: object) -> list[LogLine]:
        return [LogLine(0.0, 0, "\x1b[1mbold\x1b[0m \x1b]0;title\x07 ##[error]no"), LogLine(0.0, 1, "1 %\r::set-output::2 %")]


def test_logs_are_escaped_and_raw_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.stacks.cli.targets.make_runner", lambda stack, targets: _Runner())
    with guarded_streams():
        logs.command("run")
    assert capsys.readouterr().out == "[node 0] bold \\x1b]0;title\\x07 ##\\[error]no\n[node 1] 1 %\n[node 1] ::set-output::2 %\n"
    with guarded_streams():
        logs.command("run", raw=True)
    assert capsys.readouterr().out.startswith("[node 0] \x1b[1mbold\x1b[0m \x1b]0;title\x07 ##[error]no\n[node 1] 1 %\r::")


def test_errors_and_programs_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded_streams():
        print("error: job 'x\n::error::' \x1b[2J", file=sys.stderr)
        sys.stdout.writelines([":", ":stop-commands::x\n"])
        assert not hasattr(sys.stdout, "buffer")
    captured = capsys.readouterr()
    assert captured.err == "error: job 'x\n:\\:error::' \\x1b[2J\n"
    assert captured.out == ":\\:stop-commands::x\n"


_AROUND = {"buffer", "__stdout__", "__stderr__", "fdopen", "Console", "unescaped"}
_MAY = {"stacks/cli/streams.py": _AROUND, "stacks/cli/logs.py": {"unescaped"}}


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "stacks").rglob("*.py")))
def test_there_is_no_second_way_to_the_standard_streams(path: str) -> None:
    """`print` and `sys.stdout` are the guarded streams. A child process must not inherit them."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if isinstance(node, ast.ImportFrom):
            assert not {alias.name for alias in node.names} & (_AROUND - _MAY.get(path, set())), f"{path}:{node.lineno}"
        assert name not in _AROUND - _MAY.get(path, set()), f"{path}:{getattr(node, 'lineno', 0)}: {name}"
        call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        assert call not in {"os.write", "os.system", "os.execv", "subprocess.call", "subprocess.Popen"}, f"{path}: {call}"
        if isinstance(node, ast.Call) and call == "subprocess.run":
            caught = {"capture_output", "stdout"} & {keyword.arg for keyword in node.keywords}
            assert caught, f"{path}:{node.lineno}: its output is not captured"
