"""When .venv stays unchanged, is updated or is created from nothing. The lock files agree with each other."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.tools.engines import script
from tools import venv

CHECKOUT = Path(__file__).resolve().parents[3]


def _quiet(_text: str) -> None:
    pass


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create a checkout with locks and no .venv."""
    for name in (*venv.LOCKS.values(), venv.TOOLS_LOCK, "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    return tmp_path


def _made(root: Path, kind: str) -> None:
    script(root / ".venv" / "bin" / "python", "exit 0")
    script(root / ".venv" / "bin" / "pip", f"# {root / '.venv'}")
    (root / ".venv" / "gpuyard.json").write_text(json.dumps({kind: venv.digest(root, kind)}), encoding="utf-8")


def test_nothing_is_done_when_nothing_changed(root: Path) -> None:
    _made(root, "demo")
    assert venv.ensure(root, "demo", _quiet) is False
    assert venv.is_current(root, "dev") is False


def test_the_dev_environment_is_enough_for_the_demo(root: Path) -> None:
    _made(root, "dev")
    assert venv.is_current(root, "dev")
    assert venv.is_current(root, "demo")


@pytest.mark.parametrize("name", ["requirements.lock", "tools/requirements.lock", "pyproject.toml"])
def test_a_changed_lock_or_project_makes_it_stale(root: Path, name: str) -> None:
    _made(root, "demo")
    (root / name).write_text("new", encoding="utf-8")
    assert not venv.is_current(root, "demo")


def test_a_damaged_marker_another_python_or_another_folder_make_it_stale(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _made(root, "demo")
    assert venv.digest(root, "demo") != venv.digest(root / "tools" / "..", "demo")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 99, 0))
        assert not venv.is_current(root, "demo")
    (root / ".venv" / "gpuyard.json").write_text('{"demo"', encoding="utf-8")
    assert not venv.is_current(root, "demo")


def test_a_python_without_venv_or_ensurepip_gets_one_clear_message(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(venv.VenvError, match=r"lacks its ensurepip module\.\nfix: install it \(Debian, Ubuntu: apt install python3-venv\)"):
        venv.ensure(root, "demo", _quiet)
    assert not (root / ".venv").exists()


def _usable(root: Path) -> bool:
    return venv._usable(root / ".venv")


def test_a_complete_environment_is_updated(root: Path) -> None:
    _made(root, "demo")
    assert _usable(root)


@pytest.mark.parametrize("damage", ["interrupted", "python gone", "python broken", "moved"])
def test_an_incomplete_environment_is_created_from_nothing(root: Path, damage: str) -> None:
    _made(root, "demo")
    if damage == "interrupted":
        (root / ".venv" / "gpuyard-unfinished").touch()
    elif damage == "python gone":
        (root / ".venv" / "bin" / "python").unlink()
    elif damage == "python broken":
        script(root / ".venv" / "bin" / "python", "exit 1")
    else:
        (root / ".venv" / "bin" / "pip").write_text("#!/elsewhere/.venv/bin/python", encoding="utf-8")
    assert not _usable(root)


def test_the_marker_comes_last_and_a_failure_leaves_the_unfinished_mark(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def run(argv: list[str], _log: Path, _say: object, what: str, _env: object) -> None:
        if "venv" in argv:
            _made(root, "demo")
        assert (root / ".venv" / "gpuyard-unfinished").exists() is ("venv" not in argv)
        steps.append(what.split(" (")[0])
        if len(steps) == fail_at:
            raise venv.VenvError("no way out")

    monkeypatch.setattr(venv, "run", run)
    fail_at = 3
    with pytest.raises(venv.VenvError):
        venv.ensure(root, "dev", _quiet)
    assert not venv.is_current(root, "demo")
    assert not _usable(root)
    fail_at, steps = 0, []
    assert venv.ensure(root, "dev", _quiet) is True
    assert steps == ["making .venv", "installing tools/requirements.lock", "installing requirements-dev.lock", "installing gpuyard itself"]
    assert venv.is_current(root, "dev")
    assert _usable(root)


def test_two_processes_at_once_install_it_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(_root: Path, kind: str, _say: object) -> None:
        time.sleep(0.1)
        made.append(kind)
        _made(root, kind)

    monkeypatch.setattr(venv, "_make", make)
    start = threading.Barrier(2)

    def one(_number: int) -> bool:
        start.wait()
        return venv.ensure(root, "demo", _quiet)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(one, range(2))) == [False, True]
    assert made == ["demo"]


def test_a_step_that_fails_shows_its_last_lines(root: Path) -> None:
    log = root / ".yard" / "venv.log"
    with pytest.raises(venv.VenvError, match=r"(?s)installing x failed with exit code 3.*hash mismatch"):
        venv.run(["sh", "-c", "echo hash mismatch; exit 3"], log, _quiet, "installing x", {})


def test_uv_gets_the_package_indexes_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    python = script(tmp_path / "python", "echo \"global.index-url='https://mirror.example/simple'\"; echo \":env:.timeout='9'\"")
    assert venv.indexes(str(python)) == {"UV_DEFAULT_INDEX": "https://mirror.example/simple"}
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example")
    assert venv.indexes(str(python)) == {}


def _pins(name: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^([\w.-]+)==(\S+)", (CHECKOUT / name).read_text(encoding="utf-8"), re.MULTILINE))


def test_the_locks_agree_have_hashes_and_name_no_index_url() -> None:
    demo, dev, tools = (_pins(name) for name in ("requirements.lock", "requirements-dev.lock", "tools/requirements.lock"))
    assert {"pulumi", "torch", "typer"} <= {name for name, _version in demo}
    assert demo <= dev
    assert {pin for pin in tools if pin[0] in {name for name, _version in dev}} <= dev
    for name in ("requirements.lock", "requirements-dev.lock", "tools/requirements.lock"):
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://", text)
        assert len(re.findall(r"^[\w.-]+==.*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(_pins(name))
