"""Draw Mermaid diagrams as a reader of a pull request sees them: the real library in a real browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.node import packages as node

__all__ = ["labels", "pictures"]

_CHECKOUT = Path(__file__).resolve().parents[2]
_PAGE = """<!doctype html><meta charset="utf-8"><body><script>{library}</script><script>
mermaid.initialize({{startOnLoad: false, securityLevel: "strict"}});
(async () => {{
  const found = [];
  for (const [index, text] of {texts}.entries()) {{
    try {{ found.push((await mermaid.render("d" + index, text)).svg); }} catch (error) {{ found.push("error: " + error.message); }}
  }}
  document.body.textContent = "found:" + JSON.stringify(found) + ":end";
}})();
</script>"""


def pictures(texts: list[str], folder: Path) -> list[str]:
    """Return the SVG of each diagram, or `error: ` and Mermaid's message. Skips the test where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium (Debian, Ubuntu: apt install chromium)")
    library = (node.ensure(_CHECKOUT, lambda _: None) / node.MERMAID).read_text(encoding="utf-8").replace("</script>", "<\\/script>")
    page = folder / "page.html"
    page.write_text(_PAGE.format(library=library, texts=json.dumps(texts).replace("</", "<\\/")), encoding="utf-8")
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}"]
    argv += ["--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"found:(.*):end", html.unescape(shown), re.DOTALL)
    assert found is not None, shown[-2000:]
    drawn: list[str] = json.loads(found[1])
    return drawn


def labels(svg: str) -> list[str]:
    """Return the texts of the nodes and groups of a picture, as a reader sees them."""
    found = re.findall(r'<span class="nodeLabel[^"]*"[^>]*>(.*?)</span>', svg, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", each)) for each in found]
