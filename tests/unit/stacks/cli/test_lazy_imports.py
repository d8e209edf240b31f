"""Importing a package and `gpuyard --help` load no SDK, no pulumi and no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
_HEAVY = ("pulumi", "torch", "boto3", "botocore", "google", "azure", "grpc", "numpy", "fsspec")
# a .pth file of one of Google's packages imports `google` at every start of Python, so modules loaded before do not count
_BEFORE = "import sys; before = set(sys.modules)"
_LIGHT = "import json; print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})), file=sys.stderr)"


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import gpuyard", ("pydantic",)),
        ("import gpuyard.components", ("pydantic",)),
        ("import gpuyard.training_jobs", ("pydantic",)),
        ("import gpuyard.training_jobs.launch", ("pydantic", "yaml")),
        (
            "import sys; sys.argv = ['gpuyard', '--help']\ntry:\n from gpuyard.stacks.cli import main; main()\nexcept SystemExit: pass",
            ("pydantic", "yaml"),
        ),
        (
            "from gpuyard import Runner, load_job, parse_targets",
            (),
        ),
    ],
)
def test_nothing_heavy_is_loaded(code: str, more: tuple[str, ...]) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", f"{_BEFORE}\n{code}\n{_LIGHT}"], capture_output=True, text=True, check=True, env=env)
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert [name for name in (*_HEAVY, *more) if name in loaded] == []
