"""Install the security scanner (Checkov) into .yard/cache/checkov, from a lock with hashes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # started by its path, so the checkout is not on sys.path
from tools import venv
from tools.installed_once import install_once, print_path

__all__ = ["LOCK", "ROOT", "ensure", "main"]

ROOT = Path(__file__).resolve().parents[2]
LOCK = "tools/security/requirements.lock"


def ensure(root: Path, say: Callable[[str], None]) -> Path:
    """Return the scanner's executable. Install it if it is missing or its lock changed. Needs .venv. Raises VenvError."""
    home = root / ".yard" / "cache" / "checkov"
    executable = home / "bin" / "checkov"
    digest = hashlib.sha256((root / LOCK).read_bytes() + repr((sys.version_info[:3], str(root))).encode()).hexdigest()

    def install() -> None:
        uv, log = str(root / ".venv" / "bin" / "uv"), root / ".yard" / "checkov.log"
        python = str(root / ".venv" / "bin" / "python")
        venv.run([uv, "venv", "--quiet", "--python", python, str(home)], log, say, "making the scanner's environment", {})
        packages = [uv, "pip", "install", "--python", str(home), "--require-hashes", "--compile-bytecode", "-r", str(root / LOCK)]
        venv.run(packages, log, say, f"installing {LOCK}", venv.indexes(python))
        log.unlink(missing_ok=True)

    install_once(home, digest, [executable], install)
    return executable


def main() -> int:
    """Print the path of the executable."""
    return print_path("scanner", lambda say: ensure(ROOT, say))


if __name__ == "__main__":
    sys.exit(main())
