"""Pins a stack or a job file: resolves images to ids and digests and writes them into the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from gpuyard.components.registry import REGION_KEYS
from gpuyard.training_jobs.errors import UsageError

from ..settings import load
from .file_change import FileChange, write_change
from .job_image import by_digest, job_image
from .machine_images import has_images, newest_images
from .stack_file import image_of, with_image, with_pins

if TYPE_CHECKING:
    from ..cli.pulumi_project import PulumiProject

__all__ = ["StackPins", "pin_job", "pin_stack"]


class StackPins(NamedTuple):
    """The pins in a stack file after `gpuyard pin`, and the change of the file."""

    machine_images: dict[str, str]
    job_image: str | None
    note: str | None
    """Origin of the job image, or the reason why none is pinned. None: the user or the stack file named the image."""
    change: FileChange


def pin_stack(project: PulumiProject, given_image: str | None) -> StackPins:
    """Pin the machine images of a stack's pools and its job image.

    Raises UsageError if there is nothing to pin, AuthError or LostSightError if the cloud does not answer.
    """
    settings = load(project.config, project.encrypted, stack=project.stack)
    if not has_images(settings.cloud):
        raise UsageError(f"stack {project.stack} has nothing to pin: cloud is {settings.cloud}, which has no machine images")
    region = project.config[REGION_KEYS[settings.cloud]]
    machine_images = newest_images(settings, region, project.config)
    image, note = job_image(settings, region, given_image)
    before = project.file.read_bytes().decode("utf-8")  # bytes keep the file's line breaks
    after = with_pins(before, project.name, machine_images, image)
    _check_only_pins_changed(yaml.safe_load(before), yaml.safe_load(after))
    return StackPins(dict(sorted(machine_images.items())), image, note, write_change(project.file, before, after))


def pin_job(file: Path) -> tuple[str, FileChange]:
    """Pin the image of a job file and return it. Raises UsageError if the file names no image, or an image without a known digest."""
    try:
        before = file.read_bytes().decode("utf-8")  # bytes keep the file's line breaks
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text") from None
    named = image_of(before)
    if named is None:
        fix = "pin the stack's image: gpuyard pin --stack STACK"
        raise UsageError(f"{file} names no image, so its jobs run in the pool's default image; {fix}")
    image = by_digest(named, "image")
    after = with_image(before, image)
    if yaml.safe_load(after) != {**yaml.safe_load(before), "image": image}:
        raise AssertionError("pinning would change more of the job file than its image")
    return image, write_change(file, before, after)


def _check_only_pins_changed(before: Mapping[str, object], after: Mapping[str, object]) -> None:
    """Raise AssertionError if the edit changed more than the pins, because `pulumi up` would then deploy something else."""
    plain = [{**data, "config": _without_pins(data.get("config"))} for data in (before or {}, after or {})]
    if plain[0] != plain[1]:
        raise AssertionError("pinning would change more of the stack file than gpuyard:pins")


def _without_pins(config: object) -> dict[str, object]:
    entries = config if isinstance(config, Mapping) else {}
    return {str(key): value for key, value in entries.items() if key not in ("gpuyard:pins", "pins")}
