"""The files of a team's own repository: a Pulumi program with components, a stack file, a job and its pipeline. A pure function."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from types import MappingProxyType

__all__ = ["CLOUDS", "project_name", "repository_files"]

CLOUDS = ("local", "aws", "gcp", "azure")
_TEMPLATES = Path(__file__).with_name("templates")
_DAYS = 90
"""Days until a new yard expires."""
_IMAGES: Mapping[str, str] = MappingProxyType(
    {
        "aws": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:TAG # one of AWS's images, or your own; `gpuyard pin` adds its digest",
        "gcp": "us-central1-docker.pkg.dev/PROJECT/REPOSITORY/train:TAG # build one (images/gcp of gpuyard); `gpuyard pin` adds its digest",
        "azure": "REGISTRY.azurecr.io/train:TAG # build one (images/azure of gpuyard); `gpuyard pin` adds its digest",
    }
)
_WORKFLOW = ".github/workflows/nightly.yml"
_LONGEST = 60
_TAKEN = {"gpuyard", "aws", "gcp", "azure-native", "pulumi", "true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Names that the configuration of gpuyard or a provider has, or that YAML reads as another value."""


def project_name(folder: str) -> str:
    """Return a Pulumi project name for a folder: its letters, digits and hyphens, in lower case.

    >>> project_name("NLP Yard_2"), project_name("42"), project_name("gpuyard")
    ('nlp-yard-2', 'yard-42', 'my-gpuyard')
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    name = (name if name[:1].isalpha() else f"yard-{name}")[:_LONGEST].strip("-")
    return f"my-{name}" if name in _TAKEN else name


def repository_files(cloud: str, name: str, owner: str, today: datetime.date) -> dict[str, str]:
    """Return a dict: path in the repository -> content. `name`: the Pulumi project. `owner`: mail address of the yard's owner.

    The yard expires 90 days after `today`.
    """
    image = _IMAGES.get(cloud)
    values = {
        "name": name,
        "owner": owner,
        "expires": (today + datetime.timedelta(days=_DAYS)).isoformat(),
        "job": "nightly",
        "image": f"image: {image}" if image else "preflight: required                # checks of the nodes before the job starts",
        "files": f"| `{_WORKFLOW}` | submits the job from GitHub Actions, without a stored key |\n" if image else "",
        "pin": "gpuyard pin nightly.yaml       # after you named an image in it\n" if image else "",
    }
    workflow = {_WORKFLOW: f"{cloud}/workflow.yml.txt"} if image else {}
    templates = {
        "README.md": "README.md.txt",
        "Pulumi.yaml": "project.yaml.txt",
        "Pulumi.dev.yaml": f"{cloud}/stack.yaml.txt",
        "__main__.py": f"{cloud}/main.py.txt",
        ".gitignore": "gitignore.txt",
        "nightly.yaml": "job.yaml.txt",
    }
    filled = {path: Template(_read(template)).substitute(values) for path, template in templates.items()}
    copied = {path: _read(template) for path, template in {"train/train.py": "train.py.txt", **workflow}.items()}
    requirements = f"gpuyard[{cloud}]\n" if image else "gpuyard\n"
    return {**filled, **copied, "requirements.txt": f"{requirements}# train/train.py also needs torch, where it runs\n"}


def _read(template: str) -> str:
    return (_TEMPLATES / template).read_text(encoding="utf-8")
