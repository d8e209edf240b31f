"""Finds the files of a Pulumi project as the Pulumi CLI does: Pulumi.yaml or Pulumi.yml, and stack files with the same ending."""

from __future__ import annotations

from pathlib import Path

__all__ = ["find_project_file", "stack_files"]

_NAMES = ("Pulumi.yaml", "Pulumi.yml")


def find_project_file(folder: Path) -> Path | None:
    """Return the nearest project file: in `folder`, or in the folders above it. None: no folder has a project file."""
    files = (each / name for each in (folder, *folder.parents) for name in _NAMES)
    return next((file for file in files if file.is_file()), None)


def stack_files(project_file: Path, folder: Path) -> dict[str, Path]:
    """Return the stack files in a folder by stack name."""
    ending = project_file.suffix
    return {path.name.removeprefix("Pulumi.").removesuffix(ending): path for path in sorted(folder.glob(f"Pulumi.*{ending}"))}
