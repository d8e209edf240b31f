"""`gpuyard doctor`: checks this machine (Python, Pulumi, torch, GPUs, cloud packages, credentials), or a stack, and names each fix."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from . import options

__all__ = ["Check", "all_checks", "command"]

# cloud -> (packages of its extra, environment variables and files in which its own tools keep credentials)
_CLOUDS = {
    "aws": (("boto3", "pulumi-aws"), ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "~/.aws/credentials")),
    "gcp": (
        ("google-cloud-aiplatform", "google-cloud-storage", "pulumi-gcp"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "~/.config/gcloud/application_default_credentials.json"),
    ),
    "azure": (
        ("azure-identity", "azure-storage-blob", "pulumi-azure-native"),
        ("AZURE_CLIENT_ID", "ARM_CLIENT_ID", "~/.azure/msal_token_cache.json"),
    ),
}


class Check(NamedTuple):
    """The result of one check."""

    name: str
    ok: bool
    detail: str
    fix: str | None


def command(
    stack: Annotated[
        str | None,
        typer.Option(
            "--stack", "-s", help="Check this stack's account with your credentials, not this machine. Changes nothing.", show_default=False
        ),
    ] = None,
    directory: options.ProjectDirectory = None,
    json: options.Json = False,
) -> None:
    """Check this machine or a stack's account, and print a fix for each missing item. Without --stack, contact no cloud."""
    checks = all_checks() if stack is None else _stack(stack, directory or Path.cwd())
    if json:
        from .documents import CheckDocument, DoctorDocument, emit

        emit(DoctorDocument(checks=[CheckDocument(**check._asdict()) for check in checks]))
        return
    for check in checks:
        print(f"{'ok ' if check.ok else '-- '} {check.name:<12} {check.detail}" + (f"; {check.fix}" if check.fix else ""))


def all_checks() -> list[Check]:
    """Run every check, the most important first. Loads no cloud SDK."""
    return [_python(), _engine(), _project(), _torch(), _gpus(), *map(_cloud, _CLOUDS), _local_yard()]


def _stack(stack: str, folder: Path) -> list[Check]:
    """Return the checks of a stack's account and network: problems that would stop `pulumi up` or a submission."""
    from gpuyard.components.planning.regions import default_regions
    from gpuyard.components.planning.yard import RecordedYard
    from gpuyard.stacks.checks import stack_checks
    from gpuyard.training_jobs.errors import GpuyardError

    from .pulumi_project import load_project, run_recorded
    from .targets import find_targets

    project = load_project(folder.resolve(), stack)
    recording = run_recorded(project)
    yard = RecordedYard(project.name, project.stack, default_regions(project.config), recording)
    try:
        targets = find_targets(stack, None)[0]
    except GpuyardError:  # it is not up, or there is no Pulumi here
        targets = None
    return [Check(*check) for check in stack_checks(yard, project.config, targets)]


def _python() -> Check:
    return Check("python", True, f"{sys.version.split()[0]} at {sys.executable}", None)


def _engine() -> Check:
    from gpuyard.training_jobs.errors import GpuyardError

    from .pulumi_cli import find_pulumi

    try:
        path = find_pulumi()
        found = subprocess.run([str(path), "version"], capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (GpuyardError, OSError, subprocess.SubprocessError) as error:
        return Check("pulumi", False, str(error), "`make demo` finds, downloads or builds it")
    return Check("pulumi", True, f"{found} at {path}", None)


def _project() -> Check:
    from .project_files import find_project_file, stack_files

    file = find_project_file(Path.cwd())
    if file is None:
        return Check("project", False, "no Pulumi.yaml in this folder or above", "go to a folder with a Pulumi project, or use --targets")
    stacks = stack_files(file, file.parent / "stacks")
    return Check("project", True, f"{file.parent}, stacks: {', '.join(stacks) or 'none'}", None)


def _torch() -> Check:
    found = _version("torch")
    fix = None if found else "pip install 'gpuyard[train]' (only where jobs run on this machine)"
    return Check("torch", found is not None, found or "not installed", fix)


def _gpus() -> Check:
    from gpuyard.components.local.gpus import find_gpus

    found = find_gpus()
    detail = found.problem or ", ".join(found.models) or "no GPU (no nvidia-smi); pools of `local` use CPU slots"
    return Check("gpus", found.problem is None, detail, "repair the NVIDIA driver: nvidia-smi must work" if found.problem else None)


def _cloud(name: str) -> Check:
    packages, places = _CLOUDS[name]
    missing = [package for package in packages if _version(package) is None]
    if missing:
        return Check(name, False, f"not installed: {', '.join(missing)}", f"pip install 'gpuyard[{name}]' (only to use {name})")
    credentials = [place for place in places if _exists(place)]
    if not credentials:
        return Check(name, False, "installed, no credentials found", f"log in to {name}")
    return Check(name, True, f"installed; credentials from {credentials[0]} (not tried)", None)


def _local_yard() -> Check:
    from gpuyard.training_jobs.errors import GpuyardError

    from .targets import find_targets

    try:
        targets, source = find_targets("local", None)
    except GpuyardError as error:
        return Check("local yard", False, str(error).splitlines()[0], "make demo")
    return Check("local yard", True, f"{source} is up, pools: {', '.join(targets)}", None)


def _exists(place: str) -> bool:
    return Path(place).expanduser().exists() if place.startswith("~") else place in os.environ


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
