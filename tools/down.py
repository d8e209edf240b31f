"""`make down`: cancel the demo's runs, destroy its stack and remove ./.yard, data included."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started by its path, so the checkout is not on sys.path
from tools import local_env, stack_lock, venv
from tools.engine import bootstrap
from tools.progress import Progress

__all__ = ["ROOT", "DownError", "cancel_runs", "destroy", "down", "main", "stack_names"]

ROOT = local_env.ROOT


class DownError(Exception):
    """The yard could not be removed. The message says why."""


def down(root: Path, progress: Progress) -> None:
    """Remove everything. Raises DownError, VenvError, NoEngineError or StackBusyError."""
    if (root / ".yard" / "state" / ".pulumi").exists():
        venv.ensure(root, "demo", progress.say)
        engine = bootstrap.ensure(root, say=progress.say)
        progress.end()
        env = local_env.environment(root, engine.folder, os.environ)
        stack_lock.recover(root, local_env.STACK, env)
        names = stack_names(root, env)
        if others := sorted(names - {local_env.STACK}):
            raise DownError(f"./.yard also holds the state of {', '.join(others)}; destroy and remove them first (`pulumi stack rm`)")
        cancel_runs(root, env)
        if local_env.STACK in names:
            destroy(root, env)
    if (root / ".yard").exists():
        shutil.rmtree(root / ".yard")
        print("removed ./.yard; ./.venv and the user's cache remain")
    else:
        print("nothing to remove: there is no ./.yard")


def cancel_runs(root: Path, env: Mapping[str, str]) -> None:
    """Cancel the runs that are still alive, because destroy refuses a pool in use."""
    targets = root / ".yard" / "buckets" / "runs" / "gpuyard" / "targets.json"
    if not targets.exists():
        return
    gpuyard = [str(root / ".venv" / "bin" / "gpuyard")]
    listed = subprocess.run([*gpuyard, "list", "--targets", str(targets), "--json"], env=env, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise DownError(f"the runs cannot be listed: {listed.stderr.strip()}")
    for run in json.loads(listed.stdout)["runs"]:
        if run["state"] in ("PENDING", "RUNNING", "RECOVERING", "STOPPED", "UNKNOWN"):
            print(f"stopping {run['run_id']}")
            cancel = [*gpuyard, "cancel", run["run_id"], "--targets", str(targets), "--json"]
            cancelled = subprocess.run(cancel, env=env, capture_output=True, text=True, check=False)
            if cancelled.returncode:
                raise DownError(f"{run['run_id']} cannot be stopped: {cancelled.stderr.strip()}")


def stack_names(root: Path, env: Mapping[str, str]) -> set[str]:
    """Return the names of the stacks with state in ./.yard."""
    known = subprocess.run(
        ["pulumi", "stack", "ls", "--json", "--non-interactive"], cwd=root, env=env, capture_output=True, text=True, check=False
    )
    if known.returncode:
        raise DownError(f"the stacks cannot be listed: {known.stderr.strip()}")
    return {stack["name"].rpartition("/")[2] for stack in json.loads(known.stdout)}


def destroy(root: Path, env: Mapping[str, str]) -> None:
    """Destroy the stack and remove its state. The committed stack file stays."""
    stack = ["--stack", local_env.STACK, "--yes", "--non-interactive"]
    if subprocess.run(["pulumi", "destroy", "--skip-preview", *stack], cwd=root, env=env, check=False).returncode:
        raise DownError("pulumi destroy did not finish, so ./.yard stays; fix: see its message above, then `make down` again")
    removed = subprocess.run(
        ["pulumi", "stack", "rm", local_env.STACK, "--preserve-config", "--yes", "--non-interactive"],
        cwd=root, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if removed.returncode:
        raise DownError(f"the stack cannot be removed: {removed.stderr.strip()}")


def main() -> int:
    """Run `make down` and return its exit code."""
    progress = Progress(sys.stderr)
    try:
        down(ROOT, progress)
    except (DownError, stack_lock.StackBusyError, bootstrap.NoEngineError, venv.VenvError) as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.end()
        print("interrupted; `make down` continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
