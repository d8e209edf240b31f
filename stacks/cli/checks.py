"""What `doctor` looks at. Nothing here loads an SDK or leaves this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gpuyard.training_jobs.errors import GpuyardError

from .documents import CheckDocument
from .targets import find_pulumi, find_targets, project_root

# extra -> (packages it brings, places where the cloud's own tools keep credentials or name them)
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


def all_checks() -> list[CheckDocument]:
    """Everything, in the order in which it matters."""
    return [_python(), _engine(), _project(), _torch(), _gpus(), *map(_cloud, _CLOUDS), _local_yard()]


def _python() -> CheckDocument:
    return CheckDocument(name="python", ok=True, detail=f"{sys.version.split()[0]} at {sys.executable}", fix=None)


def _engine() -> CheckDocument:
    try:
        path = find_pulumi()
        found = subprocess.run([str(path), "version"], capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (GpuyardError, OSError, subprocess.SubprocessError) as error:
        return CheckDocument(name="pulumi", ok=False, detail=str(error), fix="`make demo` finds, fetches or builds it")
    return CheckDocument(name="pulumi", ok=True, detail=f"{found} at {path}", fix=None)


def _project() -> CheckDocument:
    root = project_root()
    if root is None:
        return CheckDocument(name="project", ok=False, detail="no Pulumi.yaml here or above", fix="go to a checkout, or use --targets")
    stacks = sorted(path.name.split(".")[1] for path in (root / "stacks").glob("Pulumi.*.yaml"))
    return CheckDocument(name="project", ok=True, detail=f"{root}, stacks: {', '.join(stacks) or 'none'}", fix=None)


def _torch() -> CheckDocument:
    found = _version("torch")
    fix = None if found else "pip install 'gpuyard[train]' (only where jobs run on this machine)"
    return CheckDocument(name="torch", ok=found is not None, detail=found or "not installed", fix=fix)


def _gpus() -> CheckDocument:
    from gpuyard.components.local.gpus import find_gpus

    found = find_gpus()
    detail = found.problem or ", ".join(found.models) or "none here (no nvidia-smi); pools of `local` use CPU slots"
    return CheckDocument(name="gpus", ok=found.problem is None, detail=detail, fix="nvidia-smi has to answer" if found.problem else None)


def _cloud(name: str) -> CheckDocument:
    packages, places = _CLOUDS[name]
    missing = [package for package in packages if _version(package) is None]
    if missing:
        detail = f"not installed: {', '.join(missing)}"
        return CheckDocument(name=name, ok=False, detail=detail, fix=f"pip install 'gpuyard[{name}]' (only to use {name})")
    credentials = [place for place in places if _there(place)]
    detail = f"installed; credentials from {credentials[0]} (not tried)" if credentials else "installed, no credentials found"
    return CheckDocument(name=name, ok=bool(credentials), detail=detail, fix=None if credentials else f"log in to {name}")


def _local_yard() -> CheckDocument:
    try:
        targets, source = find_targets("local", None)
    except GpuyardError as error:
        return CheckDocument(name="local yard", ok=False, detail=str(error).splitlines()[0], fix="make demo")
    return CheckDocument(name="local yard", ok=True, detail=f"{source} is up, pools: {', '.join(targets)}", fix=None)


def _there(place: str) -> bool:
    return Path(place).expanduser().exists() if place.startswith("~") else place in os.environ


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
