"""Install Node.js packages of the tests from a lock with hashes: Azurite (Azure Blob Storage) and Mermaid (diagrams)."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # started by its path, so the checkout is not on sys.path
from tools import venv
from tools.installed_once import install_once, print_path

__all__ = ["AZURITE", "FILES", "MERMAID", "ROOT", "ensure", "main"]

ROOT = Path(__file__).resolve().parents[2]
FILES = ("package.json", "package-lock.json")
AZURITE = Path("node_modules/azurite/dist/src/blob/main.js")
"""The server's program for node, as a path in the installation."""
MERMAID = Path("node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js")
"""The script for a page, as a path in the installation."""


def ensure(root: Path, say: Callable[[str], None]) -> Path:
    """Return the folder of the installation. Install what is missing, and everything if the lock changed. Raises VenvError."""
    home, sources = root / ".yard" / "cache" / "node", root / "tools" / "node"
    digest = hashlib.sha256(b"".join((sources / name).read_bytes() for name in FILES)).hexdigest()

    def install() -> None:
        if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
            raise venv.VenvError(
                f"{' and '.join(missing)} not found: the tests of Azure Blob Storage run against Azurite, a Node.js program.\n"
                "fix: install Node.js 20 or newer with npm (Debian, Ubuntu: apt install nodejs npm)"
            )
        home.mkdir()
        for name in FILES:
            shutil.copy(sources / name, home)
        log = root / ".yard" / "node.log"
        # no install scripts: none is needed, and 375 packages are too many to review
        packages = ["npm", "ci", "--prefix", str(home), "--ignore-scripts", "--no-audit", "--no-fund"]
        venv.run(packages, log, say, "installing tools/node/package-lock.json", {})
        log.unlink(missing_ok=True)

    install_once(home, digest, [home / AZURITE, home / MERMAID], install)
    return home


def main() -> int:
    """Print the folder of the installation."""
    return print_path("node", lambda say: ensure(ROOT, say))


if __name__ == "__main__":
    sys.exit(main())
