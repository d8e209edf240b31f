"""The `gpuyard` command: submit jobs to the pools of a stack, watch them, plan and pin stacks. One file per command.

Each command does its imports when it runs, so that `gpuyard --help` is quick and loads no SDK.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import cancel, compare, doctor, fetch, head, init, list_, logs, pin, plan, pools, schema, status, submit, sweep, upload, wait
from .streams import OutputError, guarded_streams

__all__ = ["app", "main"]

app = typer.Typer(
    name="gpuyard",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 recorded or succeeded, 1 failed, 2 usage, 3 no capacity, 4 quota, 5 permission, 6 fabric below its floor, "
    "7 not found, 8 lost sight of a job that may still run, 70 internal error, 75 stopped and resumable, 124 timed out, 130 interrupted.",
)
for name, module in {
    "submit": submit,
    "status": status,
    "logs": logs,
    "wait": wait,
    "cancel": cancel,
    "list": list_,
    "fetch": fetch,
    "pools": pools,
    "plan": plan,
    "pin": pin,
    "schema": schema,
    "doctor": doctor,
    "init": init,
    "sweep": sweep,
    "compare": compare,
    "upload": upload,
    "head": head,
}.items():
    app.command(name)(module.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"gpuyard {version('gpuyard')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Run distributed PyTorch jobs on the pools that a Pulumi stack declared."""


def main() -> None:
    """Run the command line. An error becomes a message and an exit code; only an internal error prints a traceback."""
    try:
        with guarded_streams():
            try:
                app()
            except OutputError:
                raise
            except Exception as error:
                from .error_report import report

                sys.exit(report(error, as_json="--json" in sys.argv))
    except OutputError as error:
        sys.exit(int(error.exit_code))
