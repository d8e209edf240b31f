"""List the files of a code folder that a submit sends: the files that `git add` would add.

Tracked files are always sent. An untracked file with the name of a private key or a password file is never sent. Other untracked
files are sent unless a `.gitignore` up to the repository's root, or the repository's `info/exclude`, names them. A user's global
excludes do not count, so that a commit has the same digest on every machine. If a file is left out for another
reason, a submit prints the file and the reason on stderr.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..counts import counted
from ..problems import Problem
from .errors import UsageError
from .ignore_rules import GIT, Rules, rules_above
from .key_files import is_key_file

__all__ = ["SAFE", "CodeFiles", "clean_environment", "job_code_folder", "list_code", "refuse_unreadable"]

_CACHES = {".venv", ".yard", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
_OUTPUTS = (1, 2)  # file descriptors of this process
_GITLINK = b"160000"  # the mode of a submodule in git's index
_SKIPPED = b"S"  # the tag of a file that a sparse checkout leaves out, in `git ls-files -t`
_GIT_TIMEOUT_S = 60
SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")  # a repository's own settings may name programs


class CodeFiles(NamedTuple):
    """The files to send by their names in the archive, sorted.

    `left_out` has a line with the reason for each file that is not sent although no ignore rule names it.
    """

    files: dict[str, Path]
    left_out: list[str]


@dataclass
class _Walk:
    root: Path
    leave_out: frozenset[Path]
    tracked: frozenset[str]
    left_out: list[str] = field(default_factory=list)

    def files(self, folder: Path, rules: Rules, above: tuple[Path, ...]) -> Iterator[Path]:
        rules, above = rules.below(folder), (*above, folder.resolve())
        entries = sorted(folder.iterdir())
        if not entries and folder != self.root:
            self._note(folder, "an empty folder, which git does not store")
        for path in entries:
            if path.name == GIT or self._is_left_out(path):
                continue
            yield from self._entry(path, rules, above)

    def _entry(self, path: Path, rules: Rules, above: tuple[Path, ...]) -> Iterator[Path]:
        linked = path.is_symlink()
        is_folder = path.is_dir()
        if self._is_tracked(path, is_folder and not linked):
            verdict: bool | None = False
        else:
            verdict = path.name in _CACHES or rules.ignore(path, is_folder=is_folder and not linked)
        ignored = bool(verdict)
        if ignored and not self._holds_tracked(path):
            return
        if linked and (reason := self._bad_link(path, above)):
            self._note(path, reason)
        elif verdict is None and not self._holds_tracked(path) and is_key_file(path, is_folder):
            name = self._name(path)
            self._note(path, f"looks like a key or a password file; if the job needs it, add the line `!{name}` to .gitignore")
        elif is_folder:
            inner = self.files(path, rules, above)
            yield from (file for file in inner if not ignored or self._is_tracked(file, False))
        elif _is_own_output(path):  # `gpuyard submit ... > run.json`: it would be other code in each submit
            self._note(path, "the output of this command goes there")
        elif stat.S_ISREG(path.stat().st_mode):
            yield path
        else:
            self._note(path, "not a regular file")

    def _is_left_out(self, path: Path) -> bool:
        """Return whether an entry, or the target of a link, is one of the files to leave out."""
        may_be = path.is_symlink() or any(path.name == each.name for each in self.leave_out)
        return may_be and Path(os.path.realpath(path)) in self.leave_out

    def _bad_link(self, path: Path, above: tuple[Path, ...]) -> str | None:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):  # a loop of links is a RuntimeError before Python 3.13
            return "a broken link"
        if not target.is_relative_to(self.root.resolve()):
            return "a link that leaves the code folder; copy its target into the folder, or set code: to a folder that holds both"
        return "a link to a folder that contains the link" if target in above else None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _is_tracked(self, path: Path, is_folder: bool) -> bool:
        return not is_folder and self._name(path) in self.tracked

    def _holds_tracked(self, path: Path) -> bool:
        start = f"{self._name(path)}/"
        return any(name.startswith(start) for name in self.tracked)

    def _note(self, path: Path, reason: str) -> None:
        self.left_out.append(f"{self._name(path)}: {reason}")


def _is_own_output(path: Path) -> bool:
    """Return whether standard output or standard error of this process is redirected to this file."""
    for descriptor in _OUTPUTS:
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return True
    return False


def job_code_folder(base: Path, code: str) -> Path:
    """Return the path of a job's code folder. `base`: folder of the job file; `code`: value of its key `code:`.

    Raises UsageError for a folder outside the job file's git repository. Without a repository, the folder must be inside the parent
    of `base`. Folders of the kernel, such as /proc, are refused.
    """
    found = Path(os.path.realpath(base / code))
    root = next((parent for parent in (base, *base.parents) if (parent / GIT).exists()), base.parent).resolve()
    if found.is_relative_to(root) and not any(found.is_relative_to(each) for each in _KERNEL_FOLDERS):
        return base / code
    problem = Problem("code", "outside the job file's repository", code, f"a folder in {root}", "copy the code there")
    raise UsageError("the job's code folder is not part of its repository", [problem])


def list_code(folder: Path, leave_out: Collection[Path] = ()) -> CodeFiles:
    """Return the files of `folder` to send. `leave_out`: files that are not sent, such as the job file.

    Raises UsageError when the folder is missing, cannot be read, or holds no file to send.
    """
    with refuse_unreadable():
        if not folder.is_dir():
            fix = "correct code:, a path relative to the job file"
            raise UsageError("the job's code folder is missing", [Problem("code", "no such folder", str(folder), fix=fix)])
        root = Path(os.path.abspath(folder))
        tracked, notes = _tracked(root)
        walk = _Walk(root, frozenset(Path(os.path.realpath(path)) for path in leave_out), frozenset(tracked))
        files = {path.relative_to(root).as_posix(): path for path in walk.files(root, rules_above(root), ())}
    if not files:
        fix = "correct .gitignore, or remove code: when the command needs none"
        raise UsageError(
            "the job has no code to send",
            [Problem("code", "no file to send: the folder is empty, or all its files are ignored", str(folder), fix=fix)],
        )
    return CodeFiles(dict(sorted(files.items())), [*notes, *walk.left_out])


@contextlib.contextmanager
def refuse_unreadable() -> Iterator[None]:
    """Convert errors of the file system inside the context to UsageError."""
    try:
        yield
    except OSError as error:
        problem = Problem(
            "code", error.strerror or str(error), os.fsdecode(error.filename or ""), fix="make it readable, or add it to .gitignore"
        )
        raise UsageError("the job's code cannot be read", [problem]) from None


def _tracked(folder: Path) -> tuple[set[str], list[str]]:
    """Return the names that git tracks below `folder`, submodules included, and a note for each part that is not checked out."""
    listed = _git(folder, "ls-files", "-t", "--stage", "-z")
    if isinstance(listed, str):
        in_repository = any((parent / GIT).exists() for parent in (folder, *folder.parents))
        return set(), [f"tracked files that an ignore rule names, because git cannot list them: {listed}"] if in_repository else []
    names, notes, skipped = set[str](), list[str](), 0
    for entry in filter(None, listed.split(b"\0")):
        about, _, raw = entry.partition(b"\t")
        name = os.fsdecode(raw)
        tag, mode = about.split(b" ")[:2]
        if mode != _GITLINK:
            names.add(name)
            skipped += tag == _SKIPPED and not os.path.lexists(folder / name)
        elif (folder / name / GIT).exists():
            inner, inner_notes = _tracked(folder / name)
            names |= {f"{name}/{each}" for each in inner}
            notes += [f"{name}/{note}" for note in inner_notes]
        else:
            notes.append(f"{name}: a submodule that is not checked out; run `git submodule update --init`")
    if skipped:
        notes.append(f"{counted(skipped, 'tracked file')} outside the sparse checkout; run `git sparse-checkout disable`")
    return names, notes


def clean_environment() -> dict[str, str]:
    """Return this process's environment without git's variables: inside a hook they name another repository and its index."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _git(folder: Path, *arguments: str) -> bytes | str:
    """Return git's output. If git fails, for example in another user's repository, return the reason as text."""
    try:
        done = subprocess.run(
            ["git", *SAFE, *arguments], cwd=folder, env=clean_environment(), capture_output=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except OSError as error:
        return f"git: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"git did not answer within {_GIT_TIMEOUT_S} s"
    return done.stdout if done.returncode == 0 else done.stderr.decode(errors="replace").strip().partition("\n")[0]
