"""The files of a team's own repository: a Pulumi program with components, a stack file, a job and its pipeline. A pure function."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["CLOUDS", "Source", "installed_source", "project_name", "repository_files"]

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
_IMAGE = ("nightly.yaml", "`image`: the container image of the job")
_TARGETS = (_WORKFLOW, "`GPUYARD_TARGETS`: `gpuyard/targets.json` in the run bucket (`pulumi stack output`)")
_PLACEHOLDERS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "aws": (_IMAGE, (_WORKFLOW, "`AWS_ROLE_ARN`, `AWS_DEFAULT_REGION`: the output `submitter_role`, and its region"), _TARGETS),
        "gcp": (
            ("Pulumi.dev.yaml", "`your-project`, twice"),
            _IMAGE,
            (_WORKFLOW, "`PROVIDER`, `SUBMITTER`: the outputs `submitter_provider`, `submitter_role`"),
            _TARGETS,
        ),
        "azure": (
            _IMAGE,
            (_WORKFLOW, "`AZURE_TENANT_ID`, `AZURE_CLIENT_ID`: your tenant, and the output `submitter_role`"),
            _TARGETS,
        ),
    }
)
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


class Source(NamedTuple):
    """The git repository and commit to install gpuyard from. The default is a placeholder."""

    repository: str = "https://github.com/acme/gpuyard"
    commit: str = "0" * 40


_PLACEHOLDER = Source()


def installed_source(direct_url: str | None) -> Source:
    """Return the source of this installation, from the text of its `direct_url.json` (PEP 610). A placeholder if it is not from git.

    >>> installed_source('{"url": "https://git.acme.io/gpuyard", "vcs_info": {"vcs": "git", "commit_id": "4a86a052"}}')
    Source(repository='https://git.acme.io/gpuyard', commit='4a86a052')
    """
    found = json.loads(direct_url or "{}")
    return Source(found["url"], found["vcs_info"]["commit_id"]) if "vcs_info" in found else _PLACEHOLDER


def repository_files(cloud: str, name: str, owner: str, today: datetime.date, source: Source = _PLACEHOLDER) -> dict[str, str]:
    """Return a dict: path in the repository -> content. `name`: the Pulumi project. `owner`: mail address of the yard's owner.

    The yard expires 90 days after `today`. `source`: where the repository installs gpuyard from.
    """
    image = _IMAGES.get(cloud)
    values = {
        "name": name,
        "owner": owner,
        "expires": (today + datetime.timedelta(days=_DAYS)).isoformat(),
        "job": "nightly",
        "image": f"image: {image}" if image else "preflight: required                # checks of the nodes before the job starts",
        "repository": source.repository,
        "placeholders": _placeholders(cloud, source),
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
    script = _read("train.py.txt").replace("job.yaml", "nightly.yaml")
    copied = {"train/train.py": script, **{path: _own_workflow(_read(template), source) for path, template in workflow.items()}}
    return {**filled, **copied, "requirements.txt": _requirements(f"gpuyard[{cloud}]" if image else "gpuyard", source)}


def _requirements(package: str, source: Source) -> str:
    """Return the content of requirements.txt. It names the git repository, because an index may have another package of that name."""
    line = f"{package} @ git+{source.repository}@{source.commit}  # the commit that you reviewed"
    return f"{line}\n# train/train.py also needs torch, where it runs\n"


def _own_workflow(text: str, source: Source) -> str:
    text = text.replace(" Copy it to .github/workflows/.", "")
    return text.replace(_PLACEHOLDER.repository, source.repository).replace(_PLACEHOLDER.commit, source.commit)


def _placeholders(cloud: str, source: Source) -> str:
    """Return the README's table of what a reader must replace before the first run."""
    rows = [f"| `{file}` | {what} |" for file, what in _PLACEHOLDERS.get(cloud, ())]
    if source == _PLACEHOLDER:
        files = f"`requirements.txt`, `{_WORKFLOW}`" if rows else "`requirements.txt`"
        rows.insert(0, f"| {files} | `acme/gpuyard` and the commit `0000...`: where you install gpuyard from |")
    head = ["", "Replace these before the first run:", "", "| file | placeholder |", "|---|---|"]
    return "\n".join([*head, *rows, ""]) if rows else ""


def _read(template: str) -> str:
    return (_TEMPLATES / template).read_text(encoding="utf-8")
