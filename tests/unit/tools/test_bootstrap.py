"""The ways to an engine in their order, the launchers of this checkout's Python, and the error when every way fails."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.tools.engines import engine, make_engine, script
from tools.engine import bootstrap, cache, obtain
from tools.engine.search import PIECES, NotUsableError

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Create a checkout in a path with spaces: the launchers, and a .venv whose Python prints its arguments."""
    root = tmp_path / "a check out"
    for name in PIECES:
        script(root / "tools" / "engine" / name, (CHECKOUT / "tools" / "engine" / name).read_text(encoding="utf-8").partition("\n")[2])
    script(root / ".venv" / "bin" / "python", 'printf "%s\\n" "$0" "$@"')
    return root


def _env(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def _no_download(*_: object) -> str:
    raise NotUsableError("no way out")


def _cached(*_: object) -> str:
    raise AssertionError("must not be called")


def test_path_comes_first_and_nothing_is_written(checkout: Path, tmp_path: Path) -> None:
    engine(tmp_path / "bin")
    assert bootstrap.ensure(checkout, _env(tmp_path)).origin == "found on PATH"
    assert not (tmp_path / "cache").exists()
    assert not (checkout / ".yard").exists()


def test_then_the_cache_then_the_download_then_a_build(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtain, "download", _no_download)
    monkeypatch.setattr(obtain, "build", lambda place, *_: make_engine(place))
    built = bootstrap.ensure(checkout, _env(tmp_path))
    assert (built.folder, built.origin) == (checkout / ".yard" / "engine", "in your cache, made by a test")
    monkeypatch.setattr(obtain, "download", _cached)
    monkeypatch.setattr(obtain, "build", _cached)
    assert bootstrap.ensure(checkout, _env(tmp_path)) == built


def test_a_complete_downloaded_engine_is_used_unchanged(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(place: Path, _say: Callable[[str], None]) -> str:
        engine(place)
        return "downloaded"

    monkeypatch.setattr(obtain, "download", download)
    env = _env(tmp_path)
    assert bootstrap.ensure(checkout, env).folder == cache.folder(tmp_path / "cache" / "gpuyard")
    assert not (checkout / ".yard").exists()


def test_an_engine_that_changed_in_the_cache_is_linked_again(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtain, "download", lambda place, _say: make_engine(place))
    linked = bootstrap.ensure(checkout, _env(tmp_path)).folder / "pulumi"
    kept = cache.folder(tmp_path / "cache" / "gpuyard") / "pulumi"
    assert linked.samefile(kept)
    linked.unlink()
    linked.write_text("torn", encoding="utf-8")
    bootstrap.ensure(checkout, _env(tmp_path))
    assert linked.samefile(kept)
    assert sorted(entry.name for entry in linked.parent.iterdir()) == sorted(["pulumi", *PIECES])


@pytest.mark.parametrize(("piece", "target"), [(PIECES[0], "language_host.py"), (PIECES[1], "dynamic_provider.py")])
def test_the_launchers_start_this_checkouts_python(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: str, target: str
) -> None:
    monkeypatch.setattr(obtain, "download", lambda place, _say: make_engine(place))
    folder = bootstrap.ensure(checkout, _env(tmp_path)).folder
    ran = subprocess.run([folder / piece, "127.0.0.1:9"], cwd="/", capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        str(checkout / ".venv" / "bin" / "python"), "-u", "-P", str(checkout / "tools" / "engine" / target), "127.0.0.1:9",
    ]  # fmt: skip


def test_the_provider_launcher_prefers_the_interpreter_that_the_engine_names(checkout: Path, tmp_path: Path) -> None:
    own = script(tmp_path / "own venv" / "bin" / "python", 'echo "$0"')
    env = {"PULUMI_RUNTIME_VIRTUALENV": str(tmp_path / "own venv"), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run([checkout / "tools" / "engine" / PIECES[1]], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(own)


def test_when_all_fail_one_error_names_the_four_ways(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtain, "download", _no_download)
    with pytest.raises(bootstrap.NoEngineError) as caught:
        bootstrap.ensure(checkout, _env(tmp_path))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:5]] == [
        "1. a pulumi on PATH", "2. your cache", "3. the official download", "4. a build of its Go modules",
    ]  # fmt: skip
    assert "no way out" in lines[3]
    assert "no go on PATH" in lines[4]
    assert lines[5].startswith("fix: one of these is enough")
