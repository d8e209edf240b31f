"""`make lock`: pin the dependencies of pyproject.toml in the lock files, with hashes and without the index's address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["COMMON", "LOCKS", "ROOT", "main"]

ROOT = Path(__file__).resolve().parents[1]
_RECIPES = "examples/pipelines"
_RECIPES_NEED = f"{_RECIPES}/requirements.in"
COMMON = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
# The lock with every extra comes first, because few versions of the shared dependencies fit both azure-ai-ml and pulumi. Its pins constrain
# the next two locks, so that .venv can be updated from one lock to another.
LOCKS = [
    ["--all-extras", "-o", "requirements-dev.lock", "pyproject.toml"],
    ["--extra", "train", "--extra", "aws", "-c", "requirements-dev.lock", "-o", "requirements.lock", "pyproject.toml"],
    *(
        ["--extra", cloud, "-c", "requirements-dev.lock", "-o", f"{_RECIPES}/requirements-{cloud}.lock", "pyproject.toml", _RECIPES_NEED]
        for cloud in ("aws", "gcp", "azure")
    ),
    ["-c", "requirements-dev.lock", "-o", "tools/requirements.lock", "tools/requirements.in"],
    ["-o", "tools/security/requirements.lock", "tools/security/requirements.in"],
    ["-c", "requirements.lock", "-o", "images/aws/requirements.lock", "images/aws/requirements.in"],  # jobs run with the tested versions
    ["-c", "requirements-dev.lock", "-o", "images/gcp/requirements.lock", "images/gcp/requirements.in"],
    ["-c", "requirements-dev.lock", "-o", "images/azure/requirements.lock", "images/azure/requirements.in"],
]


def main() -> int:
    """Write all lock files. Pinned versions stay unless `--upgrade` is given."""
    for arguments in LOCKS:
        lock = arguments[arguments.index("-o") + 1]
        print(f"{lock} ...", flush=True)
        header = ["--custom-compile-command", "make lock"]
        argv = [str(ROOT / ".venv" / "bin" / "uv"), "pip", "compile", *COMMON, *header, *sys.argv[1:], *arguments]
        code = subprocess.run(argv, cwd=ROOT, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
