"""Run `gpuyard` like a pipeline: in its own process, with the targets from the run bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gpuyard.training_jobs.store import open_store

ROOT = Path(__file__).resolve().parents[2]
_TARGETS = "gpuyard/targets.json"
Done = subprocess.CompletedProcess[str]


def publish(run_bucket: str, targets: Mapping[str, Any]) -> None:
    """Write a stack's targets into its run bucket."""
    open_store(run_bucket).create(_TARGETS, json.dumps(targets).encode())


def run_gpuyard(folder: Path, run_bucket: str, *arguments: str, never: Collection[str]) -> Done:
    """Run `gpuyard` in a folder. Fail if it prints one of the `never` texts."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GPUYARD_TARGETS": f"{run_bucket}/{_TARGETS}"}
    command = [sys.executable, "-c", "from gpuyard.stacks.cli import main; main()", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert not [text for text in (*never, "Traceback") if text in done.stdout + done.stderr], done.stderr
    return done


def write_code(folder: Path, script: str) -> Path:
    """Write a job's code: one script."""
    code = folder / "code"
    code.mkdir()
    (code / "script.py").write_text(script)
    return code


def write_job(folder: Path, code: int, /, **keys: Any) -> str:
    """Write a job of 2 nodes whose last argument is an exit code. Return the file's name."""
    keys = {"name": "own", "nodes": 2, "preflight": "skip", "command": ["script.py"], **keys}
    keys["command"] = [*keys["command"], str(code)]
    (folder / f"job-{code}.yaml").write_text(json.dumps(keys))  # JSON is YAML
    return f"job-{code}.yaml"


def json_output(done: Done) -> dict[str, Any]:
    """Return the parsed output of `--json`."""
    found: dict[str, Any] = json.loads(done.stdout)
    return found
