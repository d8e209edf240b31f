"""Calls the Pulumi CLI: finds its binary, the nearest project, and the environment variables of this checkout's local yard."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gpuyard.training_jobs.errors import AuthError, LostSightError, UsageError

from .project_files import find_project_file

__all__ = ["LOCAL", "find_pulumi", "job_targets", "project_root", "selected_stack"]

LOCAL = "local"
_VERSION = re.compile(r"v\d+(\.\d+)*")


def job_targets(stack: str) -> str:
    """Return the stack's output job_targets, as JSON text. Raises UsageError when the stack is not up."""
    hint = "make demo" if stack == LOCAL else f"pulumi up --stack {stack}"
    done = _pulumi(["stack", "output", "job_targets", "--json", "--stack", stack], stack)
    if done.returncode == 0:
        return done.stdout
    error = " ".join(done.stderr.removeprefix("error: ").split())
    if "passphrase" in error:
        raise AuthError(f"cannot read stack '{stack}': {error}")
    raise UsageError(f"stack '{stack}' is not up ({error}); bring it up with `{hint}`, or pass --stack or --targets")


def selected_stack() -> str | None:
    """Return the stack that `pulumi stack select` chose; None: no stack is selected."""
    done = _pulumi(["stack", "--show-name"], None)
    return done.stdout.strip() or None if done.returncode == 0 else None


def _pulumi(arguments: list[str], stack: str | None) -> subprocess.CompletedProcess[str]:
    command = [str(find_pulumi()), *arguments, "--non-interactive"]
    environment = {**local_environment(stack), **os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise LostSightError("pulumi did not answer within 60 s; pass --targets to submit without Pulumi") from None
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be run: {error.strerror}; `gpuyard doctor` checks it") from None


def find_pulumi() -> Path:
    """Return the Pulumi CLI on PATH, or the newest CLI that `make demo` put into the user's cache. Raises UsageError without a CLI."""
    on_path = shutil.which("pulumi")
    if on_path:
        return Path(on_path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    complete = [seal.parent for seal in cache.glob("gpuyard/engine/v*/complete.json") if _VERSION.fullmatch(seal.parent.name)]
    if not complete:
        raise UsageError("the pulumi CLI was not found; install it, run `make demo` once, or pass --targets, which needs no Pulumi")
    return max(complete, key=lambda folder: [int(part) for part in folder.name[1:].split(".")]) / "pulumi"


def project_root() -> Path | None:
    """Return the nearest folder with a Pulumi project: the current folder or a folder above it."""
    file = find_project_file(Path.cwd())
    return file.parent if file else None


def local_environment(stack: str | None) -> Mapping[str, str]:
    """Return the variables of this checkout's local yard, as `make env` prints them; empty for other stacks."""
    root = project_root()
    if root is None or stack != LOCAL or not (root / ".yard" / "state").is_dir():
        return {}
    return {
        "PULUMI_HOME": str(root / ".yard" / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{root}/.yard/state",
        "PULUMI_CONFIG_PASSPHRASE": "",
    }
