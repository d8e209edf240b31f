"""`make down` removes the demo yard, and refuses if ./.yard holds the state of other stacks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tools import down, stack_lock, venv
from tools.engine import bootstrap
from tools.engine.search import Engine
from tools.progress import Progress


def yard(folder: Path, monkeypatch: pytest.MonkeyPatch, *stacks: str) -> Path:
    """Create a checkout whose engine answers `stack ls` and records the arguments of every call."""
    (folder / ".yard/state/.pulumi").mkdir(parents=True)
    engine = folder / "engine"
    engine.mkdir()
    listing = json.dumps([{"name": stack} for stack in stacks])
    (engine / "pulumi").write_text(f"#!/bin/sh\necho \"$*\" >> '{folder}/calls'\nif [ \"$2\" = ls ]; then echo '{listing}'; fi\n")
    (engine / "pulumi").chmod(0o755)
    monkeypatch.setattr(venv, "ensure", lambda *_: False)
    monkeypatch.setattr(bootstrap, "ensure", lambda *_, **__: Engine(engine, "v3", "test"))
    monkeypatch.setattr(stack_lock, "recover", lambda *_: False)
    return folder


def test_another_stacks_state_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = yard(tmp_path, monkeypatch, "local", "mine")
    with pytest.raises(down.DownError, match="also holds the state of mine"):
        down.down(folder, Progress(io.StringIO()))
    assert (folder / ".yard/state").is_dir()
    assert "destroy" not in (folder / "calls").read_text()


def test_its_own_yard_is_destroyed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = yard(tmp_path, monkeypatch, "local")
    down.down(folder, Progress(io.StringIO()))
    assert not (folder / ".yard").exists()
    calls = (folder / "calls").read_text()
    assert calls.index("destroy") < calls.index("stack rm local --preserve-config")
