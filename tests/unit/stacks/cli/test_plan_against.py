"""`gpuyard plan --against`: a saved plan, a git revision in a temporary worktree, and what is neither."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gpuyard.stacks.cli import main
from gpuyard.stacks.cli.earlier_plan import earlier_plan
from gpuyard.stacks.new_repository import repository_files
from gpuyard.training_jobs.errors import UsageError


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository with a local yard in a folder with a space, committed with 2 nodes and changed to 3."""
    folder = tmp_path / "a yard"
    for path, text in repository_files("local", "a-yard", "ml@acme.io", datetime.date(2026, 12, 1)).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    (tmp_path / ".git/hooks/post-checkout").write_text('#!/bin/sh\ntouch "$(git rev-parse --git-common-dir)/hooked"\n')
    (tmp_path / ".git/hooks/post-checkout").chmod(0o755)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    program = folder / "__main__.py"
    program.write_text(program.read_text().replace('"max_nodes": 2', '"max_nodes": 3'))
    return folder


def test_a_revision_is_planned_beside_the_working_tree(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = (repository / "__main__.py").read_text()
    (repository / "new.txt").write_text("staged")
    subprocess.run(["git", "-C", str(repository), "add", "new.txt"], check=True)
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository.parent / ".git/index"))  # as git sets it in a hook
    monkeypatch.setattr(sys, "argv", ["gpuyard", "plan", "--stack", "dev", "-C", str(repository), "--against", "main", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    found = json.loads(capsys.readouterr().out)["changes"]
    assert (found["against"], found["created"], found["deleted"]) == ("main", [], [])
    assert {(each["name"], tuple(each["inputs"])) for each in found["changed"]} >= {("gpus", ("max_nodes",))}
    assert (repository / "__main__.py").read_text() == edited
    monkeypatch.delenv("GIT_INDEX_FILE")
    staged = subprocess.run(["git", "-C", str(repository), "diff", "--cached", "--name-only"], capture_output=True, text=True, check=True)
    assert staged.stdout.split() == ["a", "yard/new.txt"], "the index of the user was changed"
    listed = subprocess.run(["git", "-C", str(repository), "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1
    assert not (repository.parent / ".git/hooked").exists(), "a hook of the repository ran"


def test_a_project_that_is_new_since_the_revision_is_refused(repository: Path) -> None:
    repository.rename(repository.with_name("moved"))
    with pytest.raises(UsageError, match=r"--against main: no folder moved in that revision; name a later revision"):
        earlier_plan("main", "dev", repository.with_name("moved"))


def test_a_program_that_does_not_end_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuyard.stacks.cli.earlier_plan._LIMIT_S", 0)
    with pytest.raises(UsageError, match=r"--against main: the plan of that revision took longer than 0 s"):
        earlier_plan("main", "dev", repository)
    listed = subprocess.run(["git", "-C", str(repository), "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1


@pytest.mark.parametrize("against", ["nowhere", "x" * 5000, "a\0b", "--upload-pack=x", "-h", "main:README.md"])
def test_what_is_no_revision_is_refused(repository: Path, against: str) -> None:
    with pytest.raises(UsageError, match="no such file or git revision"):
        earlier_plan(against, "dev", repository)


def test_a_file_that_is_no_plan_and_a_stack_that_was_not_there_are_refused(repository: Path) -> None:
    with pytest.raises(UsageError, match=r"not a plan, got .*README\.md"):
        earlier_plan(str(repository / "README.md"), "dev", repository)
    with pytest.raises(UsageError, match=r"--against main: the stack has no plan there:\nerror: "):
        earlier_plan("main", "prod", repository)
