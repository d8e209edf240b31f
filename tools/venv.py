"""Create or update .venv from a lock with hashes: `python3 tools/venv.py demo|dev`. Does nothing if it is current.

Standard library only: the system's Python starts it, after python_gate.py has checked its version.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started by its path, so the checkout is not on sys.path
from tools.progress import Progress

__all__ = ["LOCKS", "ROOT", "TOOLS_LOCK", "VenvError", "digest", "ensure", "indexes", "is_current", "main", "run"]

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {"demo": "requirements.lock", "dev": "requirements-dev.lock"}
TOOLS_LOCK = "tools/requirements.lock"
_PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "cert": "SSL_CERT_FILE"}
_MARKER = "gpuyard.json"  # in .venv: which locks are installed; written last
_UNFINISHED = "gpuyard-unfinished"  # in .venv: an installation is under way, or was interrupted


class VenvError(Exception):
    """.venv cannot be created. The message has the reason and the fix."""


def digest(root: Path, kind: str) -> str:
    """Return the digest of the inputs of .venv: locks, pyproject.toml, this Python and the folder."""
    total = hashlib.sha256(repr((sys.version_info[:3], str(root))).encode())
    for name in (LOCKS[kind], TOOLS_LOCK, "pyproject.toml"):
        total.update((root / name).read_bytes())
    return total.hexdigest()


def is_current(root: Path, kind: str) -> bool:
    """Return whether .venv was made from the present files. A `dev` environment also serves the demo."""
    try:
        made = json.loads((root / ".venv" / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    enough = ("demo", "dev") if kind == "demo" else ("dev",)
    return any(made.get(name) == digest(root, name) for name in enough) and (root / ".venv" / "bin" / "python").exists()


def ensure(root: Path, kind: str, say: Callable[[str], None]) -> bool:
    """Create or update .venv for `kind`. Return False if it was current. Raises VenvError."""
    if is_current(root, kind):
        return False
    if missing := [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]:
        raise VenvError(
            f"this Python ({sys.executable}) lacks its {' and '.join(missing)} module.\n"
            f"fix: install it (Debian, Ubuntu: apt install python3-venv), or name another Python, e.g. `make demo PYTHON=python3.12`"
        )
    with _locked(root, say):
        if is_current(root, kind):
            return False  # another process made it in the meantime
        _make(root, kind, say)
    return True


def _make(root: Path, kind: str, say: Callable[[str], None]) -> None:
    venv = root / ".venv"
    python = str(venv / "bin" / "python")
    log = root / ".yard" / "venv.log"
    log.unlink(missing_ok=True)
    if not _usable(venv):
        say("making .venv")
        if venv.exists():
            shutil.rmtree(venv)
        run([sys.executable, "-m", "venv", str(venv)], log, say, "making .venv", {})
    (venv / _UNFINISHED).touch()
    (venv / _MARKER).unlink(missing_ok=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes", "--no-deps"]
    run([*pip, "-r", str(root / TOOLS_LOCK)], log, say, f"installing {TOOLS_LOCK}", {})
    uv = [str(venv / "bin" / "uv"), "pip", "install", "--python", python]
    first = " (the first time a download of gigabytes: torch)"
    env = indexes(python)
    # compile bytecode now, because a command that compiles its libraries at every start takes three times as long to start
    run([*uv, "--require-hashes", "--compile-bytecode", "-r", str(root / LOCKS[kind])], log, say, f"installing {LOCKS[kind]}{first}", env)
    run([*uv, "--no-deps", "--no-build-isolation", "--editable", str(root)], log, say, "installing gpuyard itself", env)
    new = venv / f"{_MARKER}.tmp"
    new.write_text(json.dumps({kind: digest(root, kind)}) + "\n", encoding="utf-8")
    new.replace(venv / _MARKER)
    (venv / _UNFINISHED).unlink()
    log.unlink(missing_ok=True)


def _usable(venv: Path) -> bool:
    """Return whether .venv can be updated: it is complete, of this Python and in its original folder."""
    python = venv / "bin" / "python"
    if (venv / _UNFINISHED).exists() or not python.exists():
        return False
    code = f"import sys, pip; sys.exit(sys.version_info[:3] != {tuple(sys.version_info[:3])})"
    ran = subprocess.run([str(python), "-c", code], capture_output=True, check=False)
    pip = venv / "bin" / "pip"  # in a moved checkout, the scripts have the old path
    return ran.returncode == 0 and pip.exists() and str(venv) in pip.read_text(encoding="utf-8", errors="replace")


def indexes(python: str) -> dict[str, str]:
    """Return the user's pip indexes and certificates as variables of uv, which does not read pip's settings."""
    if any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_CONFIG_FILE")):
        return {}
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    found = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = _PIP_TO_UV.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            found[name] = value.strip("'\"").replace("\\n", " ")
    return found


def run(argv: list[str], log: Path, say: Callable[[str], None], what: str, env: Mapping[str, str]) -> None:
    """Run a command and report progress. Its output goes to the log. Raises VenvError with the log's last lines."""
    log.parent.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    with log.open("ab") as out:
        process = subprocess.Popen(argv, env={**clean, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                say(what)
                time.sleep(0.2)
        finally:
            process.terminate()  # does nothing unless an interrupt came first
            process.wait()
    if process.returncode:
        tail = "\n".join(f"  {line}" for line in log.read_text("utf-8", "replace").splitlines()[-12:])
        raise VenvError(
            f"{what} failed with exit code {process.returncode} (full log: {log}):\n{tail}\nfix: see its last lines, then run this again"
        )


@contextmanager
def _locked(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    path = root / ".yard" / "venv.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is making .venv: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # the kernel releases the lock, even if this process is killed


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=LOCKS, help="demo: packages to run gpuyard; dev: also packages of the tests")
    kind = parser.parse_args().kind
    progress = Progress(sys.stderr, "python: ")
    begun = time.monotonic()
    try:
        made = ensure(ROOT, kind, progress.say)
    except VenvError as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.end()
        print("interrupted; run it again", file=sys.stderr)
        return 130
    progress.end()
    if made:
        print(f"python: .venv from {LOCKS[kind]}, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
