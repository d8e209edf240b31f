"""docs/aws-permissions.md equals the page generated from code."""

from __future__ import annotations

from tools import docs_permissions


def test_the_page_is_the_generated_one() -> None:
    assert docs_permissions.FILE.read_text() == docs_permissions.text(), "run: python -m tools.docs_permissions"
