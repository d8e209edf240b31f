"""`gpuyard pin`: resolves today's images once and writes them into the stack file, so that a later `up` never rolls a pool by surprise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from ..settings import StackSettings
    from .documents import PinDocument


def command(
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack to pin: the one of Pulumi.STACK.yaml.", show_default=False)],
    directory: Annotated[
        Path | None,
        typer.Option("--cwd", "-C", metavar="DIR", help="Pulumi project of the stack; default: the one here.", show_default=False),
    ] = None,
    job_image: Annotated[
        str | None,
        typer.Option(
            "--job-image",
            metavar="IMAGE",
            help="Container image of jobs that name none, by digest, or by tag if it is in ECR; default: keep what is pinned.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write the newest machine images of a stack's pools to its gpuyard:pins. Asks AWS; changes the stack file and nothing else."""
    from .documents import emit

    document = pin(stack, directory or Path.cwd(), job_image)
    if json:
        emit(document)
    elif document.changed:
        print(document.diff, end="")
        print(f"pinned in {document.file}; review and commit it, then `pulumi preview --stack {document.stack}` shows what it changes")
    else:
        print(f"nothing to change: {document.file} holds the newest images")


def pin(stack: str, folder: Path, job_image: str | None) -> PinDocument:
    """Pin a stack. Raises UsageError for a stack that has nothing to pin, AuthError or LostSightError where AWS does not answer."""
    import difflib

    import yaml

    from training_jobs.errors import Problem, UsageError

    from ..pins import with_pins
    from ..settings import load
    from .documents import PinDocument
    from .project import load_project

    project = load_project(folder.resolve(), stack)
    settings = load(project.config, project.encrypted, stack=project.stack)
    region = project.config.get("aws:region")
    if settings.cloud != "aws":
        raise UsageError(f"stack {project.stack} has nothing to pin: cloud is {settings.cloud}, which has no machine images")
    if not region:
        problem = Problem("aws:region", "not set", fix="state the region in the stack file: images differ between regions")
        raise UsageError(f"stack {project.stack} cannot be pinned", [problem])
    machine_images = _machine_images(settings, region)
    pinned = by_digest(job_image) if job_image else settings.pins.job_image
    before = project.file.read_bytes().decode("utf-8")  # bytes: its line breaks stay
    after = with_pins(before, project.name, machine_images, pinned)
    _check(yaml.safe_load(before), yaml.safe_load(after))
    if after != before:
        _replace(project.file, after)
    diff = difflib.unified_diff(before.splitlines(True), after.splitlines(True), project.file.name, f"{project.file.name} (pinned)")
    return PinDocument(
        stack=project.stack,
        file=str(project.file),
        changed=after != before,
        machine_images=dict(sorted(machine_images.items())),
        job_image=pinned,
        diff="".join(line if line.endswith("\n") else f"{line}\n" for line in diff),
    )


def _machine_images(settings: StackSettings, region: str) -> dict[str, str]:
    """Pool -> newest image. Pools that name their own, and those whose service holds the machines, have none."""
    from components.aws.images import image_parameter
    from training_jobs.backends.aws import shared

    wanted = {}
    for name, spec in settings.pools.items():
        parameter = None if spec.image else image_parameter(spec.service, spec.row("aws").architecture)
        if parameter:
            wanted[name] = parameter
    aws = shared(region)
    found = {parameter: aws.call("ssm", "get_parameter", {"Name": parameter}) for parameter in sorted(set(wanted.values()))}
    return {name: str(found[parameter]["Parameter"]["Value"]) for name, parameter in wanted.items()}


def by_digest(image: str) -> str:
    """An image by digest: as it is, or what its tag in ECR points to now. Raises UsageError for tags elsewhere."""
    import re

    from training_jobs.backends.aws import shared
    from training_jobs.errors import Problem, UsageError

    if re.search(r"[^\s@]@sha256:[0-9a-f]{64}$", image):
        return image
    tagged = re.fullmatch(r"((\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?)/([a-z0-9._/-]+):([\w][\w.-]{0,127})", image)
    if tagged is None:
        allowed = "name@sha256:<64 hex digits>, or ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG"
        fix = f"`docker buildx imagetools inspect {image}` shows its digest"
        raise UsageError("the job image cannot be pinned", [Problem("--job-image", "no image that can be looked up", image, allowed, fix)])
    host, account, region, name, tag = tagged.groups()
    body = {"registryId": account, "repositoryName": name, "imageIds": [{"imageTag": tag}]}
    [found] = shared(region).call("ecr", "describe_images", body)["imageDetails"]
    return f"{host}/{name}@{found['imageDigest']}"


def _check(before: Mapping[str, object], after: Mapping[str, object]) -> None:
    """Nothing but the pins may have changed: a file that is written half-right would deploy something else."""
    plain = [{**data, "config": _unpinned(data.get("config"))} for data in (before or {}, after or {})]
    if plain[0] != plain[1]:
        raise AssertionError("pinning would change more of the stack file than gpuyard:pins")


def _unpinned(config: object) -> dict[str, object]:
    entries = config if isinstance(config, Mapping) else {}
    return {str(key): value for key, value in entries.items() if key not in ("gpuyard:pins", "pins")}


def _replace(file: Path, text: str) -> None:
    """Whole or not at all."""
    import os

    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(text.encode("utf-8"))
    beside.chmod(file.stat().st_mode)
    os.replace(beside, file)
