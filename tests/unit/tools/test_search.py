"""A pulumi on PATH is used only if it runs Python programs and is new enough. Otherwise the error has the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.tools.engines import engine, script
from tools.engine.search import PIECES, NotUsableError, cache_root, on_path


def _env(*folders: Path) -> dict[str, str]:
    return {"PATH": ":".join(str(folder) for folder in folders)}


def test_a_complete_engine_is_used(tmp_path: Path) -> None:
    engine(tmp_path / "a b")
    found = on_path(_env(tmp_path / "empty", tmp_path / "a b"))
    assert (found.folder, found.version, found.origin) == (tmp_path / "a b", "v3.259.0", "found on PATH")


def test_its_pieces_can_be_elsewhere_on_path_or_beside_the_target_of_a_link(tmp_path: Path) -> None:
    engine(tmp_path / "one", pieces=PIECES[:1])
    script(tmp_path / "two" / PIECES[1], "exit 0")
    assert on_path(_env(tmp_path / "one", tmp_path / "two")).folder == tmp_path / "one"
    engine(tmp_path / "opt")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pulumi").symlink_to(tmp_path / "opt" / "pulumi")
    assert on_path(_env(tmp_path / "bin")).folder == tmp_path / "bin"


@pytest.mark.parametrize(
    ("version", "pieces", "reason"),
    [
        ("v3.100.0", PIECES, r"is v3\.100\.0, allowed: v3\.259\.0 or newer, below v4"),
        ("v3.259.0", (), r"no pulumi-language-python and no pulumi-resource-pulumi-python"),
        ("v3.259.0", PIECES[:1], r"has no pulumi-resource-pulumi-python beside it or on PATH, so it cannot run Python"),
    ],
)
def test_an_incomplete_engine_is_not_used(tmp_path: Path, version: str, pieces: tuple[str, ...], reason: str) -> None:
    engine(tmp_path, version, pieces)
    with pytest.raises(NotUsableError, match=reason):
        on_path(_env(tmp_path))


def test_an_engine_that_cannot_run_is_not_used(tmp_path: Path) -> None:
    script(tmp_path / "pulumi", "echo broken >&2; exit 3")
    with pytest.raises(NotUsableError, match=r"cannot be run \(exit code 3: broken\)"):
        on_path(_env(tmp_path))
    with pytest.raises(NotUsableError, match="not found"):
        on_path(_env(tmp_path / "nothing"))


def test_the_cache_follows_xdg_and_ignores_a_relative_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root({"XDG_CACHE_HOME": "/x"}) == Path("/x/gpuyard")
    assert cache_root({"XDG_CACHE_HOME": "x"}) == cache_root({}) == tmp_path / ".cache" / "gpuyard"
