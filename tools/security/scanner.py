"""Install the security scanner (Checkov) into .yard/cache/checkov, from a lock with hashes."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # started by its path, so the checkout is not on sys.path
from tools import venv
from tools.progress import Progress

__all__ = ["LOCK", "ROOT", "ensure", "main"]

ROOT = Path(__file__).resolve().parents[2]
LOCK = "tools/security/requirements.lock"
_MARKER = "gpuyard.digest"  # written last: without it the environment is unfinished


def ensure(root: Path, say: Callable[[str], None]) -> Path:
    """Return the scanner's executable. Install it if it is missing or its lock changed. Needs .venv. Raises VenvError."""
    home = root / ".yard" / "cache" / "checkov"
    marker, executable = home / _MARKER, home / "bin" / "checkov"
    digest = hashlib.sha256((root / LOCK).read_bytes() + repr((sys.version_info[:3], str(root))).encode()).hexdigest()
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it, even if this process is killed
        if marker.exists() and marker.read_text(encoding="utf-8") == digest and executable.exists():
            return executable
        if home.exists():
            shutil.rmtree(home)
        uv, log = str(root / ".venv" / "bin" / "uv"), root / ".yard" / "checkov.log"
        python = str(root / ".venv" / "bin" / "python")
        venv.run([uv, "venv", "--quiet", "--python", python, str(home)], log, say, "making the scanner's environment", {})
        install = [uv, "pip", "install", "--python", str(home), "--require-hashes", "--compile-bytecode", "-r", str(root / LOCK)]
        venv.run(install, log, say, f"installing {LOCK}", venv.indexes(python))
        marker.write_text(digest, encoding="utf-8")
        log.unlink(missing_ok=True)
    return executable


def main() -> int:
    """Print the path of the executable."""
    progress = Progress(sys.stderr, "scanner: ")
    try:
        found = ensure(ROOT, progress.say)
    except venv.VenvError as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    progress.end()
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
