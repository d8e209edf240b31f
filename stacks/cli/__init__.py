"""`gpuyard`: submit jobs to the pools of a stack and watch them. One file per command.

Each command imports what it needs when it runs, so that `gpuyard --help` is quick and loads no SDK.
"""

from __future__ import annotations

import sys

import typer

from . import cancel, doctor, fetch, list_, logs, pin, plan, pools, schema, status, submit, wait

app = typer.Typer(
    name="gpuyard",
    help="Run distributed PyTorch jobs on the pools that a Pulumi stack declared.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 recorded or succeeded, 1 failed, 2 usage, 3 capacity, 4 quota, 5 permission, 6 fabric, 7 not found, "
    "8 lost sight, 70 our fault, 75 resumable, 124 timed out, 130 interrupted.",
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
}.items():
    app.command(name)(module.command)


def main() -> None:
    """Run the command line; errors for people become a message and an exit code, never a traceback."""
    try:
        app()
    except Exception as error:
        from .error_report import report

        sys.exit(report(error, as_json="--json" in sys.argv))
