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
from gpuyard.training_jobs.code_files import SAFE, clean_environment
from gpuyard.training_jobs.errors import UsageError

__all__ = ["earlier_plan"]

_MAIN = "from gpuyard.stacks.cli import main; main()"
_LIMIT_S = 600


def earlier_plan(against: str, stack: str, folder: Path) -> Plan:
    """Return the plan in the file `against`, else the plan of the stack at the git revision `against`.

    `folder`: a folder of the Pulumi project. Its files are not changed. Raises UsageError if there is no such plan.
    """
    text = _saved(Path(against))
    if text is not None:
        return _parsed(text, against)
    top = Path(_git(folder, "rev-parse", "--show-toplevel"))
    commit = _commit(top, against)
    with _worktree(top, commit) as copy:
        inside = folder.resolve().relative_to(top.resolve())
        there = copy / inside
        if not there.is_dir():
            raise UsageError(f"--against {against}: no folder {inside} in that revision; name a later revision")
        command = [sys.executable, "-c", _MAIN, "plan", "--stack", stack, "--json", "-C", str(there)]
        try:
            env = clean_environment()
            done = subprocess.run(command, cwd=there, env=env, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            text = f"--against {against}: the plan of that revision took longer than {_LIMIT_S} s; save its `gpuyard plan --json` in a file"
            raise UsageError(f"{text} and name the file") from None
        if done.returncode not in (0, 2) or not done.stdout.startswith("{") or '"gpuyard.error/1"' in done.stdout[:200]:
            raise UsageError(f"--against {against}: the stack has no plan there:\n{done.stderr.strip()}")
        return _parsed(done.stdout, against)


def _saved(file: Path) -> str | None:
    """Return the text of a file; None if the path cannot be a file. Raises UsageError if the file cannot be read."""
    try:
        if not file.is_file():
            return None
    except (OSError, ValueError):  # too long for a path, or a null character
        return None
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"--against {file}: {error.strerror}; name a file that you can read") from None


def _parsed(text: str, against: str) -> Plan:
    try:
        return Plan.model_validate_json(text)
    except ValidationError:
        problem = Problem("--against", "not a plan", against, "the output of `gpuyard plan --json`, or a git revision")
        raise UsageError("there is nothing to compare with", [problem]) from None


def _commit(top: Path, revision: str) -> str:
    problem = Problem(
        "--against",
        "no such file or git revision",
        revision,
        "a file with the output of `gpuyard plan --json`, or a git revision such as main",
    )
    if revision.startswith("-") or "\0" in revision:
        raise UsageError("there is nothing to compare with", [problem])
    try:
        return _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except UsageError:
        raise UsageError("there is nothing to compare with", [problem]) from None


@contextlib.contextmanager
def _worktree(top: Path, commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder, without the hooks of the repository, and remove it again."""
    with tempfile.TemporaryDirectory(prefix="gpuyard-plan-") as parent:
        copy = Path(parent) / "worktree"
        _git(top, "worktree", "add", "--quiet", "--detach", str(copy), commit)
        try:
            yield copy
        finally:
            _git(top, "worktree", "remove", "--force", str(copy))


def _git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", *SAFE, "-C", str(folder), *arguments]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(
            f"--against needs git: {error.strerror}; install git, or name a file with the output of `gpuyard plan --json`"
        ) from None
    if done.returncode != 0:
        raise UsageError(f"--against: git {arguments[0]} failed: {done.stderr.strip() or 'no such revision'}")
    return done.stdout.strip()
