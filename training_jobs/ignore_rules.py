"""The ignore rules of a git repository: every `.gitignore` up to its root, and its `info/exclude`."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from .ignore_patterns import Pattern, parse_patterns, verdict

__all__ = ["GIT", "Rules", "rules_above"]

GIT = ".git"
"""Name of the repository's own data: a folder, or a file in a worktree or submodule. It is never sent."""


@dataclass(frozen=True)
class Rules:
    """Ignore rules of each folder, the outermost folder first. Patterns are relative to their folder."""

    levels: tuple[tuple[Path, list[Pattern]], ...] = ()
    everything: bool = False
    """Whether a rule of the repository ignores the whole folder, with all of these paths."""

    def ignore(self, path: Path, *, is_folder: bool) -> bool | None:
        """Return whether the rules ignore an entry: None = no rule matches, False = a rule with `!` includes it."""
        if self.everything:
            return True
        for base, patterns in reversed(self.levels):
            found = verdict(patterns, os.fsencode(path.relative_to(base)), is_folder=is_folder)
            if found is not None:
                return found
        return None

    def below(self, folder: Path) -> Rules:
        """Return the rules that apply inside a folder, its own .gitignore last. A nested git repository inherits no rules."""
        start = (_exclude_file(folder),) if (folder / GIT).exists() else ()
        above = Rules() if start else self
        own = [(folder, parse_patterns(file.read_bytes())) for file in (*start, folder / ".gitignore") if file.is_file()]
        return Rules((*above.levels, *own), above.everything)


def rules_above(folder: Path) -> Rules:
    """Return the rules of the repository that apply to `folder`, without the folder's own rules."""
    repository = next((parent for parent in (folder, *folder.parents) if (parent / GIT).exists()), None)
    rules = Rules()
    if repository is None or repository == folder:
        return rules
    parts = [folder, *(parent for parent in folder.parents if parent.is_relative_to(repository))][::-1]
    for part, inner in itertools.pairwise(parts):
        rules = rules.below(part)
        if rules.ignore(inner, is_folder=True):
            return Rules(everything=True)
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
