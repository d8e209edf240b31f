"""`gpuyard submit`: starts a job. A second submit of the same job returns the same run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .safe_text import one_line

if TYPE_CHECKING:
    from gpuyard.training_jobs.runner import SubmitPlan

__all__ = ["command"]


def command(
    job: Annotated[str, typer.Argument(metavar="JOB.yaml", help="Job file; examples/template.yaml has every key.", show_default=False)],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="Arguments to append to the job's command.", show_default=False)
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Pool to use instead of the job file's.", show_default=False)] = None,
    settings: options.Settings = None,
    stack: options.Stack = None,
    targets: options.Targets = None,
    request_key: Annotated[
        str | None,
        typer.Option(help="Submit only once for this key: a later submit with the key finds the same run.", show_default=False),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Start the next attempt of a failed or cancelled run.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Start a new run of the same job, under a random key.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run ends and exit with the job's outcome.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="For schedulers: exit with the job's outcome if the run has failed, was cancelled or is UNKNOWN, otherwise with 0; "
            "print nothing if the run exists already and none of these applies.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the run id and the exact API requests; create nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Submit a job. A second submit of the same job finds its run and starts no other. Exit code 0: the run is recorded."""
    from gpuyard.problems import Problem
    from gpuyard.training_jobs.code_files import job_code_folder
    from gpuyard.training_jobs.errors import UsageError
    from gpuyard.training_jobs.overrides import apply_arguments, apply_settings, split_setting
    from gpuyard.training_jobs.spec import load_job
    from gpuyard.training_jobs.state import State, exit_for

    from .documents import SubmitDocument, emit
    from .targets import make_runner
    from .view import follow, hint_on_interrupt, print_submitted, print_wait

    if dry_run and (retry or again or wait or check):
        raise UsageError("--dry-run creates nothing; remove --retry, --again, --wait and --check")
    if arguments and "--" not in sys.argv:  # such as a pool without --pool: it must not become an argument of the script
        fix = "write an option, or -- before arguments for the job's command"
        raise UsageError("the job was not submitted", [Problem(arguments[0], "unexpected argument", fix=fix)])
    changes = [split_setting("--set", each) for each in settings or []]
    spec, base = load_job(job, lambda data: apply_arguments(apply_settings(data, changes), arguments or []))
    if pool is not None:
        spec = spec.model_copy(update={"pool": pool})
    code_dir = job_code_folder(base, spec.code) if spec.code is not None else None
    runner = make_runner(stack, targets)
    if dry_run:
        _print_plan(runner.plan(spec, code_dir, key=request_key, leave_out=[Path(job)]), as_json=json)
        return
    submitted = runner.submit(spec, code_dir, key=request_key, retry=retry, again=again, leave_out=[Path(job)], on_wait=print_wait)
    _print_left_out(submitted.left_out)
    run = submitted.status.run_id
    bad = submitted.status.state in {State.FAILED, State.CANCELLED, State.UNKNOWN}
    if submitted.created or bad or not check:
        needs_wait = submitted.created and not wait and spec.retries.user_error > 0
        with hint_on_interrupt(run):
            print_submitted(run, submitted.note, needs_wait=needs_wait, quiet=json)
    outcome = follow(runner, run, quiet=json) if wait else None
    if json:
        status = outcome or submitted.status
        emit(SubmitDocument(run_id=run, created=submitted.created, note=submitted.note, status=status))
    if outcome is None and check and bad:
        outcome = submitted.status
    if outcome is not None:
        raise typer.Exit(exit_for(outcome.state, outcome.reason))


def _print_left_out(lines: Sequence[str]) -> None:
    """Print to stderr each entry of the code folder that is not sent, except ignored files."""
    for line in lines:
        print(f"not sent: {one_line(line)}", file=sys.stderr)


def _print_plan(plan: SubmitPlan, *, as_json: bool) -> None:
    import dataclasses
    import json

    from gpuyard.counts import counted

    from .documents import SubmitPlanDocument, emit

    _print_left_out(plan.left_out)
    bodies = [dataclasses.asdict(request) for request in plan.requests]
    if as_json:
        emit(SubmitPlanDocument(run_id=plan.run_id, requests=bodies, files=list(plan.files), left_out=list(plan.left_out)))
        return
    print(f"run {plan.run_id}   nothing was created; code: {counted(len(plan.files), 'file')}")
    for name in plan.files:
        print(f"  {one_line(name)}")
    print("the API requests would be")
    for request in bodies:
        print(f"{request['operation']} {json.dumps(request['body'], indent=2)}")
