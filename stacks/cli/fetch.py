"""`gpuyard fetch`: copies a run's results and checkpoints to a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .safe_text import one_line

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
    left_out: list[str] = []
    files = make_runner(stack, targets).fetch(run, folder, left_out.append)
    for line in left_out:
        print(f"not copied: {one_line(line)}", file=sys.stderr)
    if json:
        emit(FetchDocument(run_id=run, folder=str(folder.resolve()), files=files, left_out=left_out))
    else:
        print(f"{counted(len(files), 'file')} in {folder}")
