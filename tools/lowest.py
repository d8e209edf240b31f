"""`make lowest`: install the lowest versions that pyproject.toml allows, and run the tests of the object stores with them.

The environment is .yard/lowest. torch makes it gigabytes large, so this is no part of `make test`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["EXTRAS", "ROOT", "TESTS", "TEST_TOOLS", "main"]

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("aws", "gcp", "azure", "sweep", "train")
TEST_TOOLS = ("hypothesis", "moto[s3,server]", "pytest", "pytest-socket", "pytest-timeout", "pytest-xdist")
"""Packages that only the tests need. They may have any version, because the fakes must answer as the services do today."""
TESTS = (
    "tests/contract/test_stores.py",
    "tests/unit/training_jobs/store",
    "tests/unit/training_jobs/test_samplers.py",
    "tests/unit/training_jobs/launch/test_launch_azure.py",
    "tests/unit/training_jobs/launch/test_launch_gcs.py",
    "tests/unit/training_jobs/launch/test_launch_s3.py",
    "tests/unit/training_jobs/train/test_checkpoint_store.py",
)
"""The contract of every store, and launch and the trainer on every cloud's storage."""


def main() -> int:
    """Make the environment and run the tests in it."""
    folder = ROOT / ".yard" / "lowest"
    python, uv = str(folder / "bin" / "python"), str(ROOT / ".venv" / "bin" / "uv")
    steps = [
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--python", python, "--resolution", "lowest-direct", "--editable", f"{ROOT}[{','.join(EXTRAS)}]"],
        [uv, "pip", "install", "--quiet", "--python", python, *TEST_TOOLS],  # keeps what is installed
        [python, "-m", "pytest", "-n", "auto", *TESTS, *sys.argv[1:]],
    ]
    for step in steps:
        code = subprocess.run(step, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
