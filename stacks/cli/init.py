"""`gpuyard init`: writes a team's own repository: a Pulumi program, a stack file, a job and its pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options

__all__ = ["command"]


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; it may exist. No file is overwritten.")],
    cloud: Annotated[str, typer.Option(help="Cloud of the yard: local, aws, gcp or azure.")] = "local",
    owner: Annotated[str, typer.Option(help="Mail address of the yard's owner, for tags and budget alerts.")] = "owner@example.com",
    json: options.Json = False,
) -> None:
    """Write a repository of your own: a Pulumi program with components, a stack file, a job and its pipeline."""
    import datetime
    import importlib.metadata
    import re

    from gpuyard.problems import Problem, did_you_mean
    from gpuyard.training_jobs.errors import UsageError

    from ..new_repository import CLOUDS, installed_source, project_name, repository_files
    from .documents import InitDocument, emit

    if cloud not in CLOUDS:
        problem = Problem("--cloud", "unknown cloud", cloud, ", ".join(CLOUDS), did_you_mean(cloud, CLOUDS))
        raise UsageError("nothing was written", [problem])
    if not re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", owner, re.ASCII):
        raise UsageError("nothing was written", [Problem("--owner", "not a mail address", owner, "NAME@DOMAIN")])
    source = installed_source(importlib.metadata.distribution("gpuyard").read_text("direct_url.json"))
    today = datetime.datetime.now(datetime.UTC).date()
    files = repository_files(cloud, project_name(folder.resolve().name), owner, today, source)
    _write(folder, files)
    if json:
        emit(InitDocument(folder=str(folder), cloud=cloud, files=sorted(files)))
        return
    print("\n".join(f"{folder / path}" for path in sorted(files)))
    print(f"next: read {folder / 'README.md'}, edit {folder / 'Pulumi.dev.yaml'}, then gpuyard plan --stack dev -C {folder}")


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write the files. Raises UsageError, and writes nothing, if one of them exists or the folder cannot be written."""
    from gpuyard.problems import Problem
    from gpuyard.training_jobs.errors import UsageError

    there = [path for path in sorted(files) if (folder / path).exists() or (folder / path).is_symlink()]
    if there:
        fix = "remove it, or choose another folder"
        raise UsageError("nothing was written", [Problem(str(folder / path), "exists already", fix=fix) for path in there])
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}; choose another folder") from None
