"""`gpuyard fetch`: copies a run's results and checkpoints to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options

__all__ = ["command"]


def command(
    run: options.Run,
    into: Annotated[Path | None, typer.Option("--into", help="Folder to copy to; default: ./RUN.", show_default=False)] = None,
    stack: options.Stack = None,
    targets: options.Targets = None,
    json: options.Json = False,
) -> None:
    """Copy a run's results and checkpoints to a folder."""
    from gpuyard.counts import counted

    from .documents import FetchDocument, emit
    from .targets import make_runner

    folder = into or Path(run)
    files = make_runner(stack, targets).fetch(run, folder)
    if json:
        emit(FetchDocument(run_id=run, folder=str(folder.resolve()), files=files))
    else:
        print(f"{counted(len(files), 'file')} in {folder}")
