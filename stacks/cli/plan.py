"""`gpuyard plan`: shows what a stack creates, costs and needs. Uses no Pulumi engine, no account and no network."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options

if TYPE_CHECKING:
    from gpuyard.components.planning.document import Plan

__all__ = ["command", "plan"]


def command(
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack to plan; its file is Pulumi.STACK.yaml.", show_default=False)],
    directory: options.ProjectDirectory = None,
    json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a comment on a pull request.")] = False,
    against: Annotated[
        str | None,
        typer.Option(help="Also show what changes from an earlier plan: a git revision, or a file with `plan --json`.", show_default=False),
    ] = None,
    nonce: Annotated[
        str | None,
        typer.Option("--nonce", help="Random text to print with the plan; it shows that the plan ran to its end.", show_default=False),
    ] = None,
) -> None:
    """Show offline what a stack creates, costs and needs. Exits 2 when a policy rule is violated."""
    from gpuyard.training_jobs.errors import UsageError

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other; remove one")
    folder = directory or Path.cwd()
    document = plan(stack, folder).model_copy(update={"nonce": nonce})
    if against is not None:
        from gpuyard.components.planning.changes import changes

        from .earlier_plan import earlier_plan

        document = document.model_copy(update={"changes": changes(earlier_plan(against, stack, folder), document, against)})
    if json:
        from .documents import emit

        emit(document)
    else:
        from gpuyard.components.planning import render

        _show(render.markdown(document) if markdown else render.text(document), plain=markdown)
    if document.refused:
        raise typer.Exit(2)


def _show(text: str, *, plain: bool) -> None:
    """Print the lines, coloured on a terminal."""
    if plain or not sys.stdout.isatty():
        print(text)
        return
    from gpuyard.components.planning import render

    from .streams import styled, terminal

    console = terminal(sys.stdout)
    for line, style in render.styled(text.splitlines()):
        console.print(styled(line, style), soft_wrap=True)


def plan(stack: str, folder: Path) -> Plan:
    """Return the plan of a stack's program. Raises UsageError when the program cannot run or reports an error."""
    from gpuyard.components.planning.plan import make_plan
    from gpuyard.components.planning.regions import default_regions
    from gpuyard.components.planning.yard import RecordedYard

    from ..waivers import waivers
    from .pulumi_project import load_project, run_recorded

    project = load_project(folder.resolve(), stack)
    recording = run_recorded(project)
    accepted = waivers(project.config, stack=project.stack)
    yard = RecordedYard(project.name, project.stack, default_regions(project.config), recording)
    return make_plan(yard, datetime.datetime.now(datetime.UTC), project.encrypted, project.environments, accepted)
