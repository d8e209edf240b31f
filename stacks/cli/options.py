"""The options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["MOMENT", "Chart", "Goal", "Json", "Labels", "Metric", "ProjectDirectory", "Run", "Settings", "Stack", "Targets"]

MOMENT = "a duration before now, such as 10m, or an ISO time such as 2026-11-22T03:00"

Run = Annotated[str, typer.Argument(metavar="RUN", help="Run id, as `gpuyard list` shows it.", show_default=False)]
Stack = Annotated[str | None, typer.Option("--stack", "-s", help="Pulumi stack that declared the pools.", show_default=False)]
Targets = Annotated[
    str | None,
    typer.Option(
        "--targets",
        help="File or URL of the job targets (targets.json in the run bucket), instead of a stack.",
        envvar="GPUYARD_TARGETS",
        show_envvar=True,
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout (see `gpuyard schema`).")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Change a value of the job file, such as env.LR=0.2 or command[2]=0.2; may be repeated.",
        show_default=False,
    ),
]  # fmt: skip
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Only runs whose job has this label; may be repeated.", show_default=False),
]
Metric = Annotated[
    str | None, typer.Option(help="Reported metric to compare; default: val_loss if a run reports it, else loss.", show_default=False)
]
Chart = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Also draw the runs, with matplotlib.", show_default=False)]
Goal = Annotated[str, typer.Option(help="Whether the best run has the lowest (min) or the highest (max) metric.")]
ProjectDirectory = Annotated[
    Path | None,
    typer.Option(
        "--cwd", "-C", metavar="DIR", help="Folder of the Pulumi project, or a folder in it; default: this folder.", show_default=False
    ),
]
