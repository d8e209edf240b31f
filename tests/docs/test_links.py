"""Every relative link of every Markdown page leads to a file, and to a heading of it where it names one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
_CODE = re.compile(r"^( *)(```|~~~).*?^\1\2[^\n]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?![a-z]+:)([^)\s]+)\)")


def pages() -> list[Path]:
    """Return the Markdown files that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in filter(None, listed.split("\0")) if (ROOT / name).is_file()]


def dead_links(page: Path) -> Iterator[str]:
    """Yield the relative links of a page that lead nowhere."""
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        name, _, heading = link.partition("#")
        target = page.parent / unquote(name) if name else page
        if not target.exists() or (heading and heading not in headings(target)):
            yield link


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`, three\n[a](page.md#one-two-three) [b](#none) [c](gone.md) `[d](code.md)` [e](https://example.com)\n")
    assert list(dead_links(page)) == ["#none", "gone.md"]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(
        re.findall(
            r"`((?:components|stacks|tests|tools|training_jobs|launch|lifecycle|train|gpuyard)/[\w./]+\.(?:py|yaml|sh)|[\w/]+/)`", text
        )
    )
    rooms = (ROOT, ROOT / "training_jobs", ROOT / "components")
    assert [name for name in sorted(named) if not any((room / name).exists() for room in rooms)] == []


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in _LINK.findall(index)}
    pages_of_docs = {page.resolve() for page in (ROOT / "docs").glob("*.md")} - {ROOT / "docs/README.md"}
    assert pages_of_docs - linked == set()
    decisions = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    assert all(page.name in decisions for page in (ROOT / "docs/adr").glob("[0-9]*.md"))
