"""`gpuyard pin`: writes today's images into a stack file or a job file by id or digest, so that they change only when you pin again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from .documents import JobPinDocument, PinDocument

__all__ = ["command", "pin"]


def command(
    job: Annotated[
        Path | None, typer.Argument(metavar="[JOB.yaml]", help="Job file to pin, instead of a stack.", show_default=False)
    ] = None,
    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="Stack to pin; its file is Pulumi.STACK.yaml.", show_default=False)
    ] = None,
    directory: options.ProjectDirectory = None,
    job_image: Annotated[
        str | None,
        typer.Option(
            "--job-image",
            metavar="IMAGE",
            help="Container image of jobs that name no image: by digest, or by tag in a cloud's registry. Default: the pinned image. "
            "Without one: AWS's own image, if it can run the jobs of all pools.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Pin images to fixed versions: the machine images of a stack's pools and its job image, or the image of a job file.

    Asks the stack's cloud for its newest images. Changes only the stack file or the job file.
    """
    from gpuyard.training_jobs.errors import UsageError

    from .documents import emit

    document: PinDocument | JobPinDocument
    if job is not None and (stack, directory, job_image) == (None, None, None):
        document = _pin_job(job)
    elif job is None and stack is not None:
        document = pin(stack, directory or Path.cwd(), job_image)
    else:
        raise UsageError(
            "pin either a job file or a stack: `gpuyard pin JOB.yaml`, or `gpuyard pin --stack STACK [--job-image IMAGE] [-C DIR]`"
        )
    if json:
        emit(document)
    else:
        _show(document)


def pin(stack: str, folder: Path, job_image: str | None) -> PinDocument:
    """Pin the images of a stack. `folder`: the Pulumi project, or a folder in it. Raises the errors of pinning.pin.pin_stack."""
    from ..pinning.pin import pin_stack
    from .documents import PinDocument
    from .pulumi_project import load_project

    project = load_project(folder.resolve(), stack)
    pins = pin_stack(project, job_image)
    return PinDocument(
        stack=project.stack,
        file=str(project.file),
        changed=pins.change.changed,
        machine_images=pins.machine_images,
        job_image=pins.job_image,
        note=pins.note,
        diff=pins.change.diff,
    )


def _pin_job(file: Path) -> JobPinDocument:
    from ..pinning.pin import pin_job
    from .documents import JobPinDocument

    image, change = pin_job(file)
    return JobPinDocument(file=str(file), changed=change.changed, image=image, diff=change.diff)


def _show(document: PinDocument | JobPinDocument) -> None:
    from .documents import JobPinDocument

    print(document.diff, end="")
    if isinstance(document, JobPinDocument):
        print(f"pinned in {document.file}" if document.changed else f"nothing to change: {document.file} names its image by digest")
        return
    if document.changed:
        print(f"pinned in {document.file}; review and commit it; `pulumi preview --stack {document.stack}` shows the changes")
    else:
        print(f"nothing to change: {document.file} already has the newest images")
    if document.note:
        print(document.note)
