"""The Node.js packages of the tests: the lock has digests and no registry URL, and a missing Node.js is an error with a fix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tools.node import packages as node
from tools.venv import VenvError

SOURCES = Path(__file__).resolve().parents[3] / "tools" / "node"


def test_every_package_has_a_digest_and_no_registry_url() -> None:
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    required = json.loads((SOURCES / "package.json").read_text())["dependencies"]
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert lock["packages"][""]["dependencies"] == required
    assert packages["node_modules/azurite"]["version"] == required["azurite"]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not [name for name, entry in packages.items() if "resolved" in entry]


def test_a_missing_node_is_an_error_with_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SOURCES, tmp_path / "tools" / "node", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(VenvError, match="node and npm not found: the tests of Azure Blob Storage run against Azurite") as refused:
        node.ensure(tmp_path, lambda _: None)
    assert "fix: install Node.js 20 or newer" in str(refused.value)
    assert not (tmp_path / ".yard" / "cache" / "node").exists()


def test_an_unfinished_installation_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SOURCES, tmp_path / "tools" / "node", ignore=shutil.ignore_patterns("__pycache__"))
    home = tmp_path / ".yard" / "cache" / "node"
    made: list[list[str]] = []

    def install(argv: list[str], *_: object) -> None:
        made.append(argv)
        for path in (node.AZURITE, node.MERMAID):
            (home / path).parent.mkdir(parents=True)
            (home / path).touch()
        if len(made) == 1:
            raise VenvError("interrupted")

    monkeypatch.setattr("tools.venv.run", install)
    with pytest.raises(VenvError, match="interrupted"):
        node.ensure(tmp_path, lambda _: None)
    for _ in range(2):
        assert node.ensure(tmp_path, lambda _: None) == home
    assert [argv[:2] for argv in made] == [["npm", "ci"]] * 2
    assert "--ignore-scripts" in made[0]
