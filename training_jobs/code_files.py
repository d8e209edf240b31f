"""List the files of a code folder that a submit sends: the files that `git add` would add.

Tracked files are always sent. An untracked file with the name of a private key or a password file is never sent. Other untracked
files are sent unless a `.gitignore` up to the repository's root, or the repository's `info/exclude`, names them. A user's global
excludes do not count, so that a commit has the same digest on every machine. A submit prints each other file that it leaves out, with
the reason, on stderr.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.base import GitIgnorePatternError

from ..problems import Problem
from .errors import UsageError

__all__ = ["CodeFiles", "job_code_folder", "list_code"]

_NEVER = ".git"  # a folder, or a file in a worktree or submodule; never sent
_CACHES = {".venv", ".yard", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_KEYS = re.compile(
    r"\.env(\..+)?|\.envrc|\.netrc|\.git-credentials|\.pgpass|\.pypirc|\.npmrc|\.htpasswd|\.boto|\.s3cfg|kubeconfig"
    r"|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|.+\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk|publishsettings)"
    r"|(application_default_)?credentials(\.json)?|client_secret.*\.json|service[_-]account.*\.json",
    re.IGNORECASE,
)
_KEY_FOLDERS = {".ssh", ".aws", ".azure", ".gcloud", ".gnupg", ".kube", ".docker"}
_EXAMPLE = re.compile(r"(?i).*\.(example|sample|template|dist|pub)")
_KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
_GITLINK = b"160000"  # the mode of a submodule in git's index
_GIT_TIMEOUT_S = 60
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")  # a repository's own settings may name programs


class CodeFiles(NamedTuple):
    """The files to send by their names in the archive, sorted.

    `left_out` has a line with the reason for each file that is not sent although no ignore rule names it.
    """

    files: dict[str, Path]
    left_out: list[str]


@dataclass(frozen=True)
class _Rules:
    """Ignore rules of each folder, the outermost folder first. Patterns are relative to their folder."""

    levels: tuple[tuple[Path, GitIgnoreSpec], ...] = ()

    def ignore(self, path: Path, *, is_folder: bool) -> bool | None:
        """Return whether the rules ignore an entry: None = no rule matches, False = a rule with `!` includes it."""
        suffix = "/" if is_folder else ""
        verdict: bool | None = None
        for base, spec in self.levels:
            found = spec.check_file(path.relative_to(base).as_posix() + suffix).include
            verdict = verdict if found is None else found
        return verdict

    def below(self, folder: Path) -> _Rules:
        """Return the rules that apply inside a folder, its own .gitignore last. A nested git repository inherits no rules."""
        start = (_exclude_file(folder),) if (folder / _NEVER).exists() else ()
        levels = () if start else self.levels
        specs = [(folder, _spec(file)) for file in (*start, folder / ".gitignore") if file.is_file()]
        return _Rules((*levels, *specs))


@dataclass
class _Walk:
    root: Path
    leave_out: frozenset[Path]
    tracked: frozenset[str]
    left_out: list[str] = field(default_factory=list)

    def files(self, folder: Path, rules: _Rules, above: tuple[Path, ...]) -> Iterator[Path]:
        rules, above = rules.below(folder), (*above, folder.resolve())
        entries = _entries(folder)
        if not entries and folder != self.root:
            self._note(folder, "an empty folder, which git does not store")
        for path in entries:
            if path.name == _NEVER or path in self.leave_out:
                continue
            yield from self._entry(path, rules, above)

    def _entry(self, path: Path, rules: _Rules, above: tuple[Path, ...]) -> Iterator[Path]:
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
        elif verdict is None and not self._holds_tracked(path) and _is_key(path, is_folder):
            name = self._name(path)
            self._note(path, f"looks like a key or a password file; if the job needs it, add the line `!{name}` to .gitignore")
        elif is_folder:
            inner = self.files(path, rules, above)
            yield from (file for file in inner if not ignored or self._is_tracked(file, False))
        elif stat.S_ISREG(path.stat().st_mode):
            yield path
        else:
            self._note(path, "not a regular file")

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


def _is_key(path: Path, is_folder: bool) -> bool:
    """Return whether the name of a file or folder suggests keys or passwords. For a link, its target's name counts too."""
    names = [path.name, path.resolve().name]
    if is_folder:
        return any(name in _KEY_FOLDERS for name in names)
    return any(_KEYS.fullmatch(name) and not _EXAMPLE.fullmatch(name) for name in names)


def job_code_folder(base: Path, code: str) -> Path:
    """Return the path of a job's code folder. `base`: folder of the job file; `code`: value of its key `code:`.

    Raises UsageError for a folder outside the job file's git repository. Without a repository, the folder must be inside the parent
    of `base`. Folders of the kernel, such as /proc, are refused.
    """
    found = (base / code).resolve()
    root = next((parent for parent in (base, *base.parents) if (parent / _NEVER).exists()), base.parent).resolve()
    if found.is_relative_to(root) and not any(found.is_relative_to(each) for each in _KERNEL_FOLDERS):
        return base / code
    problem = Problem("code", "outside the job file's repository", code, f"a folder in {root}", "copy the code there")
    raise UsageError("the job's code folder is not part of its repository", [problem])


def list_code(folder: Path, leave_out: Collection[Path] = ()) -> CodeFiles:
    """Return the files of `folder` to send. `leave_out`: files that are not sent, such as the job file.

    Raises UsageError when the folder is missing, cannot be read, or holds no file to send.
    """
    if not folder.is_dir():
        fix = "correct code:, a path relative to the job file"
        raise UsageError("the job's code folder is missing", [Problem("code", "no such folder", str(folder), fix=fix)])
    root = Path(os.path.abspath(folder))
    tracked, notes = _tracked(root)
    walk = _Walk(root, frozenset(Path(os.path.abspath(path)) for path in leave_out), frozenset(tracked))
    files = {path.relative_to(root).as_posix(): path for path in walk.files(root, _rules_above(root), ())}
    if not files:
        fix = "correct .gitignore, or remove code: when the command needs none"
        raise UsageError(
            "the job has no code to send",
            [Problem("code", "no file to send: the folder is empty, or all its files are ignored", str(folder), fix=fix)],
        )
    return CodeFiles(dict(sorted(files.items())), [*notes, *walk.left_out])


def _rules_above(folder: Path) -> _Rules:
    """Return the rules of the repository that apply to `folder`, without the folder's own rules."""
    repository = next((parent for parent in (folder, *folder.parents) if (parent / _NEVER).exists()), None)
    rules = _Rules()
    if repository is None or repository == folder:
        return rules
    for part in reversed([parent for parent in folder.parents if parent.is_relative_to(repository)]):
        rules = rules.below(part)
    return rules


def _tracked(folder: Path) -> tuple[set[str], list[str]]:
    """Return the names that git tracks below `folder`, submodules included, and a note for each submodule that is not checked out."""
    listed = _git(folder, "ls-files", "--stage", "-z")
    if listed is None:
        return set(), []
    names, notes = set[str](), list[str]()
    for entry in filter(None, listed.split(b"\0")):
        about, _, raw = entry.partition(b"\t")
        name = os.fsdecode(raw)
        if not about.startswith(_GITLINK):
            names.add(name)
        elif (folder / name / _NEVER).exists():
            inner, inner_notes = _tracked(folder / name)
            names |= {f"{name}/{each}" for each in inner}
            notes += [f"{name}/{note}" for note in inner_notes]
        else:
            notes.append(f"{name}: a submodule that is not checked out; run `git submodule update --init`")
    return names, notes


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return git's output. None if git is not installed or `folder` is not in a repository that git trusts."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # set inside git's hooks
    try:
        done = subprocess.run(["git", *_SAFE, *arguments], cwd=folder, env=clean, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _exclude_file(repository: Path) -> Path:
    """Return the file info/exclude of a repository, worktree or submodule."""
    git = repository / _NEVER
    if git.is_file():
        git = (repository / git.read_text(errors="replace").removeprefix("gitdir:").strip()).resolve()
        common = git / "commondir"
        if common.is_file():
            git = (git / common.read_text(errors="replace").strip()).resolve()
    return git / "info" / "exclude"


def _spec(file: Path) -> GitIgnoreSpec:
    """Read the ignore rules of a file. Invalid patterns, such as `[z-a]` or a lone `!`, are skipped, as in git."""
    lines = []
    for line in file.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n"):
        try:
            GitIgnoreSpec.from_lines([line.removesuffix("\r")])
        except (GitIgnorePatternError, re.error):
            continue
        lines.append(line.removesuffix("\r"))
    return GitIgnoreSpec.from_lines(lines)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UsageError("the job's code cannot be read", [Problem("code", error.strerror or str(error), str(folder))]) from None
