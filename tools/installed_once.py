"""What the tests need in .yard/cache: installed once from a lock with hashes, and again if the lock changed."""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started by its path, so the checkout is not on sys.path
from tools import venv
from tools.progress import Progress

__all__ = ["install_once", "print_path"]

_MARKER = "gpuyard.digest"  # written last: without it the installation is unfinished


def install_once(home: Path, digest: str, needed: Sequence[Path], install: Callable[[], None]) -> None:
    """Install into the folder `home`, unless it has the `needed` files and was made from these sources.

    `digest`: of the sources. `install` finds no folder there. Other processes wait until it is done.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it, even if this process is killed
        marker = home / _MARKER
        if marker.exists() and marker.read_text(encoding="utf-8") == digest and all(path.exists() for path in needed):
            return
        if home.exists():
            shutil.rmtree(home)
        install()
        marker.write_text(digest, encoding="utf-8")


def print_path(name: str, ensure: Callable[[Callable[[str], None]], Path]) -> int:
    """Run an `ensure` function, print the path that it returns, and return the exit code. `name` begins each line of progress."""
    progress = Progress(sys.stderr, f"{name}: ")
    try:
        found = ensure(progress.say)
    except venv.VenvError as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    progress.end()
    print(found)
    return 0
