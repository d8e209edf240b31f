"""`gpuyard pin`: resolves today's images once and writes them into the stack file or the job file, so that nothing changes by surprise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from ..settings import StackSettings
    from .documents import JobPinDocument, PinDocument

TAGGED = re.compile(
    r"(?P<host>(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?)"
    r"/(?P<name>[a-z0-9._/-]+):(?P<tag>[\w][\w.-]{0,127})"
)
"""An image by tag in ECR, which can be looked up."""
_OWN = "build one (images/README.md) and pin it with --job-image, or let each job name its own"


def command(
    job: Annotated[
        Path | None, typer.Argument(metavar="[JOB.yaml]", help="Job file whose image to pin, instead of a stack.", show_default=False)
    ] = None,
    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="Stack to pin: the one of Pulumi.STACK.yaml.", show_default=False)
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--cwd", "-C", metavar="DIR", help="Pulumi project of the stack; default: the one here.", show_default=False),
    ] = None,
    job_image: Annotated[
        str | None,
        typer.Option(
            "--job-image",
            metavar="IMAGE",
            help="Container image of jobs that name none, by digest, or by tag if it is in ECR; default: keep what is pinned, "
            "else AWS's own where the pools can run jobs in it.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write digests instead of what moves: the newest images of a stack's pools to its gpuyard:pins, or a job file's `image:` tag.

    Asks the stack's cloud; changes that one file and nothing else.
    """
    from .documents import JobPinDocument, emit

    document = _pinned(job, stack, directory, job_image)
    if json:
        emit(document)
        return
    print(document.diff, end="")
    if isinstance(document, JobPinDocument):
        print(f"pinned in {document.file}" if document.changed else f"nothing to change: {document.file} names its image by digest")
        return
    if document.changed:
        print(f"pinned in {document.file}; review and commit it, then `pulumi preview --stack {document.stack}` shows what it changes")
    else:
        print(f"nothing to change: {document.file} holds the newest images")
    if document.note:
        print(document.note)


def _pinned(job: Path | None, stack: str | None, directory: Path | None, job_image: str | None) -> PinDocument | JobPinDocument:
    from gpuyard.training_jobs.errors import UsageError

    if job is not None and (stack, directory, job_image) == (None, None, None):
        return pin_job(job)
    if job is not None or stack is None:
        raise UsageError("pin one thing: `gpuyard pin JOB.yaml`, or `gpuyard pin --stack STACK [--job-image IMAGE] [-C DIR]`")
    return pin(stack, directory or Path.cwd(), job_image)


def pin_job(file: Path) -> JobPinDocument:
    """Pin the image of a job file. Raises UsageError where it names none, or one that cannot be looked up."""
    import yaml

    from gpuyard.training_jobs.errors import UsageError

    from ..pinning.stack_file import image_of, with_image
    from .documents import JobPinDocument

    try:
        before = file.read_bytes().decode("utf-8")  # bytes: its line breaks stay
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not text") from None
    named = image_of(before)
    if named is None:
        fix = "that image is the stack's: gpuyard pin --stack STACK"
        raise UsageError(f"{file} names no image, so its jobs run in the pool's default; {fix}")
    image = by_digest(named, "image")
    after = with_image(before, image)
    if yaml.safe_load(after) != {**yaml.safe_load(before), "image": image}:
        raise AssertionError("pinning would change more of the job file than its image")
    if after != before:
        _replace(file.resolve(), after)  # of a link, what it names
    return JobPinDocument(file=str(file), changed=after != before, image=image, diff=_diff(file.name, before, after))


def pin(stack: str, folder: Path, job_image: str | None) -> PinDocument:
    """Pin a stack. Raises UsageError for a stack that has nothing to pin, AuthError or LostSightError where its cloud does not answer."""
    import yaml

    from gpuyard.components.registry import REGION_KEYS
    from gpuyard.problems import Problem
    from gpuyard.training_jobs.errors import UsageError

    from ..pinning.machine_images import has_images, newest_images
    from ..pinning.stack_file import with_pins
    from ..settings import load
    from .documents import PinDocument
    from .pulumi_project import load_project

    project = load_project(folder.resolve(), stack)
    settings = load(project.config, project.encrypted, stack=project.stack)
    if not has_images(settings.cloud):
        raise UsageError(f"stack {project.stack} has nothing to pin: cloud is {settings.cloud}, which has no machine images")
    key = REGION_KEYS[settings.cloud]
    region = project.config.get(key)
    if not region:
        problem = Problem(key, "not set", fix="state the region in the stack file: images differ between regions")
        raise UsageError(f"stack {project.stack} cannot be pinned", [problem])
    machine_images = newest_images(settings, region, project.config)
    pinned, note = _job_image(settings, region, job_image)
    before = project.file.read_bytes().decode("utf-8")  # bytes: its line breaks stay
    after = with_pins(before, project.name, machine_images, pinned)
    _check(yaml.safe_load(before), yaml.safe_load(after))
    if after != before:
        _replace(project.file, after)
    return PinDocument(
        stack=project.stack,
        file=str(project.file),
        changed=after != before,
        machine_images=dict(sorted(machine_images.items())),
        job_image=pinned,
        note=note,
        diff=_diff(project.file.name, before, after),
    )


def _job_image(settings: StackSettings, region: str, given: str | None) -> tuple[str | None, str | None]:
    """The image of jobs that name none, by digest, and what there is to say of it: what is asked for, or pinned, or AWS's own."""
    from gpuyard.components.aws.job_images import job_image, reference

    if given or settings.pins.job_image:
        return (by_digest(given) if given else settings.pins.job_image), None
    if settings.cloud != "aws":
        return None, f"no job image is pinned: no image of {settings.cloud}'s own is known; {_OWN}"
    wanted = {(spec.service, spec.row("aws").architecture) for spec in settings.pools.values() if spec.service != "vms"}
    for service, processor in sorted(wanted):
        image = job_image(service, processor)
        if image is None or image.lacks:
            why = f"lacks {image.lacks}" if image else f"for {processor} is not known"
            return None, f"no job image is pinned: AWS's own for {service} {why}; {_OWN}"
    found = {reference(image, region) for service, processor in wanted if (image := job_image(service, processor))}
    if len(found) != 1 or None in found:
        return None, f"no job image is pinned: no image of AWS's own is known for all pools in {region}; {_OWN}" if wanted else None
    [tagged] = (each for each in found if each)
    return by_digest(tagged), f"the job image is AWS's own, {tagged}"


def _diff(name: str, before: str, after: str) -> str:
    import difflib

    diff = difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, f"{name} (pinned)")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in diff)


def by_digest(image: str, key: str = "--job-image") -> str:
    """An image by digest: as it is, or what its tag in ECR points to now. Raises UsageError for tags elsewhere."""
    from gpuyard.problems import Problem
    from gpuyard.training_jobs.clouds.aws import shared
    from gpuyard.training_jobs.errors import UsageError

    if re.search(r"[^\s@]@sha256:[0-9a-f]{64}$", image):
        return image
    tagged = TAGGED.fullmatch(image)
    if tagged is None:
        allowed = "name@sha256:<64 hex digits>, or ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG"
        fix = f"`docker buildx imagetools inspect {image}` shows its digest"
        raise UsageError("the job image cannot be pinned", [Problem(key, "no image that can be looked up", image, allowed, fix)])
    body = {"registryId": tagged["account"], "repositoryName": tagged["name"], "imageIds": [{"imageTag": tagged["tag"]}]}
    [found] = shared(tagged["region"]).call("ecr", "describe_images", body)["imageDetails"]
    return f"{tagged['host']}/{tagged['name']}@{found['imageDigest']}"


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
