"""The ignore rules of a git repository: every `.gitignore` up to its root, and its `info/exclude`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.base import GitIgnorePatternError

__all__ = ["GIT", "Rules", "rules_above"]

GIT = ".git"
"""Name of the repository's own data: a folder, or a file in a worktree or submodule. It is never sent."""


@dataclass(frozen=True)
class Rules:
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

    def below(self, folder: Path) -> Rules:
        """Return the rules that apply inside a folder, its own .gitignore last. A nested git repository inherits no rules."""
        start = (_exclude_file(folder),) if (folder / GIT).exists() else ()
        levels = () if start else self.levels
        specs = [(folder, _spec(file)) for file in (*start, folder / ".gitignore") if file.is_file()]
        return Rules((*levels, *specs))


def rules_above(folder: Path) -> Rules:
    """Return the rules of the repository that apply to `folder`, without the folder's own rules."""
    repository = next((parent for parent in (folder, *folder.parents) if (parent / GIT).exists()), None)
    rules = Rules()
    if repository is None or repository == folder:
        return rules
    for part in reversed([parent for parent in folder.parents if parent.is_relative_to(repository)]):
        rules = rules.below(part)
    return rules


def _exclude_file(repository: Path) -> Path:
    """Return the file info/exclude of a repository, worktree or submodule."""
    git = repository / GIT
    if git.is_file():
        git = repository / git.read_text(errors="replace").removeprefix("gitdir:").strip()
        common = git / "commondir"
        if common.is_file():
            git = git / common.read_text(errors="replace").strip()
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
