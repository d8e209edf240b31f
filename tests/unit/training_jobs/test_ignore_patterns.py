"""Ignore lines against real git: many folders with one line or more each, and one `git ls-files` that lists what git would add."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from gpuyard.training_jobs.code_files import list_code
from gpuyard.training_jobs.errors import UsageError

_PLAIN_NAMES = r"foo bar a b z foo\ !x #c x.py .h a] [a * a*b a?b é - ~ AbC dir/foo dir/a/b in]/dir/foo"
_NAMES = [*_PLAIN_NAMES.split(), "sp ", "tab\t", "\udcff\udcfe"]
_PLAIN_LINES = r"""
! \ foo\ [z-a] [a-z] [!a] [^a]* []a] [[] [a a] * ** **/ /** **/foo foo/** dir/**/b in]/**/foo ? /foo foo/ dir/ / // ./foo foo/.
!foo !*/ dir/* *.py [[:alpha:]] [[:upper:]]* [[:foo:]] [[:alpha:] \* a\*b a\?b \a é {a,b} [\]] [\a-c] [a-\c] [-a] [a-] *** a** **a
*/ */* [ ] [] [!] \[a !!foo \\ foo\\ [[:digit:][:alpha:]] [[.a.]] *[!b] **/dir dir/**/ **/\/foo [b-a]* ?? [^[:alpha:]] \!x \#c #c
"""
_SPACED_LINES = ["sp ", "sp\\ ", " foo", "foo  ", "tab\t", "*\t", "foo\r", "\x00", "foo\x00bar", "\x0c", "# a", "\ufeff", "\udcff*"]
_LINES = [*_PLAIN_LINES.split(), *_SPACED_LINES, "*\n!foo", "*\n!*/\n!*.py"]


def _make(folder: Path, lines: list[str]) -> None:
    for name in _NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / ".gitignore").write_bytes(os.fsencode("\n".join(lines)))


def _git(root: Path, *arguments: str) -> bytes:
    env = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    return subprocess.run(["git", *arguments], cwd=root, env=env, check=True, capture_output=True).stdout


def test_the_files_are_those_that_git_would_add(tmp_path: Path) -> None:
    choose = random.Random(15)  # noqa: S311 test data, not a key
    together = [choose.choices(_LINES, k=3) for _ in range(60)]
    for number, lines in enumerate([*([line] for line in _LINES), *together]):
        _make(tmp_path / f"n{number}", lines)
    _git(tmp_path, "init", "-q")
    names = {os.fsdecode(name) for name in _git(tmp_path, "ls-files", "-oz", "--exclude-standard").split(b"\0") if name}
    assert set(list_code(tmp_path).files) == names


@pytest.mark.parametrize("rule", ["out/", "/out", "o*"])
def test_a_code_folder_that_the_repository_ignores_is_refused(tmp_path: Path, rule: str) -> None:
    _make(tmp_path / "out" / "in", [])
    (tmp_path / ".gitignore").write_text(f"{rule}\n!*/in\n")
    _git(tmp_path, "init", "-q")
    for folder in ("out", "out/in"):
        with pytest.raises(UsageError, match="no file to send"):
            list_code(tmp_path / folder)
    _git(tmp_path, "add", "-f", "out/in/foo")
    assert set(list_code(tmp_path / "out").files) == {"in/foo"}
