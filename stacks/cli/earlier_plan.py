"""The plan to compare with: a saved `plan --json`, or the plan of a git revision, made in a temporary worktree."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from gpuyard.components.planning.document import Plan
from gpuyard.problems import Problem
from gpuyard.training_jobs.errors import UsageError

__all__ = ["earlier_plan"]

_MAIN = "from gpuyard.stacks.cli import main; main()"
_LIMIT_S = 600


def earlier_plan(against: str, stack: str, folder: Path) -> Plan:
    """Return the plan in the file `against`, else the plan of the stack at the git revision `against`.

    `folder`: a folder of the Pulumi project. Its files are not changed. Raises UsageError if there is no such plan.
    """
    file = Path(against)
    if file.is_file():
        return _parsed(file.read_text(encoding="utf-8", errors="replace"), against)
    top = Path(_git(folder, "rev-parse", "--show-toplevel"))
    commit = _commit(top, against)
    with _worktree(top, commit) as copy:
        there = copy / folder.resolve().relative_to(top.resolve())
        command = [sys.executable, "-c", _MAIN, "plan", "--stack", stack, "--json", "-C", str(there)]
        done = subprocess.run(command, cwd=there, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        if done.returncode not in (0, 2) or not done.stdout.startswith("{") or '"gpuyard.error/1"' in done.stdout[:200]:
            raise UsageError(f"--against {against}: the stack has no plan there:\n{done.stderr.strip()}")
        return _parsed(done.stdout, against)


def _parsed(text: str, against: str) -> Plan:
    try:
        return Plan.model_validate_json(text)
    except ValidationError:
        problem = Problem("--against", "not a plan", against, "the output of `gpuyard plan --json`, or a git revision")
        raise UsageError("there is nothing to compare with", [problem]) from None


def _commit(top: Path, revision: str) -> str:
    problem = Problem(
        "--against", "no such file or git revision", revision, "a file with `gpuyard plan --json`, or a revision such as main"
    )
    if revision.startswith("-"):
        raise UsageError("there is nothing to compare with", [problem])
    try:
        return _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except UsageError:
        raise UsageError("there is nothing to compare with", [problem]) from None


@contextlib.contextmanager
def _worktree(top: Path, commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder, without hooks and filters of the repository, and remove it again."""
    with tempfile.TemporaryDirectory(prefix="gpuyard-plan-") as parent:
        copy = Path(parent) / "worktree"
        _git(top, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(copy), commit)
        try:
            yield copy
        finally:
            _git(top, "worktree", "remove", "--force", str(copy))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(f"--against needs git: {error.strerror}; install git, or name a file with `gpuyard plan --json`") from None
    if done.returncode != 0:
        raise UsageError(f"--against: git {arguments[0]} failed: {done.stderr.strip() or 'no such revision'}")
    return done.stdout.strip()
