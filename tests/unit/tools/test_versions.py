"""The pinned versions: which engines, Go and Python versions are accepted, and that go.mod pins the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import python_gate
from tools.engine import versions

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("v3.259.0", True),
        ("3.259.0", True),
        ("v3.272.1-alpha.12+abc", True),
        ("v3.258.9", False),
        ("v2.999.0", False),
        ("v4.0.0", False),
        ("", False),
        ("dirty", False),
    ],
)
def test_which_engines_are_good(text: str, good: bool) -> None:
    assert versions.good_engine(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("go version go1.26.8 linux/amd64", True), ("go1.25.11", True), ("go1.25.10", False), ("go1.26", True), ("go1.9", False), ("", False)],
)
def test_which_go_is_good(text: str, good: bool) -> None:
    assert versions.good_go(text) is good


def test_go_mod_pins_the_same_versions() -> None:
    text = (ROOT / "tools/engine/go.mod").read_text(encoding="utf-8")
    assert re.findall(r"pulumi/pulumi/(?:pkg|sdk)/v3 v(\S+)", text) == [versions.ENGINE, versions.ENGINE]
    assert re.findall(r"^go (\S+)$", text, re.MULTILINE) == [versions.GO]


def test_the_python_check_accepts_new_versions_and_names_the_fix_for_old_versions() -> None:
    assert python_gate.complaint((3, 11, 0)) is None
    assert python_gate.complaint((3, 14)) is None
    message = python_gate.complaint((3, 9, 18))
    assert message is not None
    assert "3.9" in message
    assert "3.11 or newer" in message
    assert "PYTHON=" in message
