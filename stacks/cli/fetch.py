"""`gpuyard fetch`: a run's results and checkpoints to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def command(
    run: options.Run,
    into: Annotated[Path | None, typer.Option("--into", help="Folder; default: ./RUN.", show_default=False)] = None,
    stack: options.Stack = None,
    targets: options.Targets = None,
    json: options.Json = False,
) -> None:
    """Copy a run's results and checkpoints to a folder."""
    from .documents import FetchDocument, emit
    from .targets import make_runner

    folder = into or Path(run)
    files = make_runner(stack, targets).fetch(run, folder)
    if json:
        emit(FetchDocument(run_id=run, folder=str(folder.resolve()), files=files))
    else:
        print(f"{len(files)} files in {folder}")
