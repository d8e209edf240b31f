"""Text output about runs: one line per state, updated in place on a terminal, and the summary of a run."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

import typer

from gpuyard.counts import counted
from gpuyard.training_jobs.state import Exit, State
from gpuyard.training_jobs.status import Attempt, RunStatus

from .streams import OutputError, styled, terminal

if TYPE_CHECKING:
    from gpuyard.training_jobs.runner import Runner

__all__ = ["figures", "follow", "hint_on_interrupt", "line", "print_submitted", "print_wait", "summary"]

_PLAIN_EVERY_S = 10.0


def print_submitted(run: str, note: str, *, needs_wait: bool, quiet: bool) -> None:
    """Print the run id and the command that shows its logs; on stderr if quiet.

    `needs_wait`: the service does not start every retry by itself, so somebody must run `gpuyard wait`.
    """
    stream = sys.stderr if quiet else sys.stdout
    print(f"run {run}  {note}   logs: gpuyard logs -f {run}{_yard_option()}", file=stream, flush=True)
    if needs_wait:
        print(
            f"no service starts the retries for user_error by itself: run gpuyard wait {run}{_yard_option()}, or submit the job again",
            file=stream,
        )


def print_wait(line: str) -> None:
    """Print to stderr why a command waits."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def hint_on_interrupt(run: str) -> Iterator[None]:
    """On Ctrl-C or a failed write to stdout, print the commands that wait for or cancel the run. Only this command ends."""
    try:
        yield
    except (KeyboardInterrupt, OutputError) as error:
        option = _yard_option()
        print(f"\nthe run was not stopped. Wait: gpuyard wait {run}{option}   Cancel: gpuyard cancel {run}{option}", file=sys.stderr)
        if isinstance(error, OutputError):
            raise
        raise typer.Exit(Exit.INTERRUPTED) from None


def _yard_option() -> str:
    """Return this command's --stack or --targets option, to repeat it in a hint."""
    arguments = sys.argv[1:]
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in {"--stack", "-s", "--targets"} and (equals or index + 1 < len(arguments)):
            return f" {name} {shlex.quote(value if equals else arguments[index + 1])}"
    return ""


def follow(runner: Runner, run: str, *, quiet: bool) -> RunStatus:
    """Wait until a run ends and print its states. If quiet, print to stderr, because stdout is for a JSON document."""
    stream = sys.stderr if quiet else sys.stdout
    started = time.monotonic()
    with hint_on_interrupt(run):
        if stream.isatty():
            status = _follow_live(runner, run, stream, started)
        else:
            printed = _Printed(stream)
            status = runner.wait(run, lambda current: printed.show(current, time.monotonic() - started))
    for attempt in status.attempts[-1:]:
        for text in attempt.tail:
            print(f"  | {text}", file=stream)
    return status


class _Printed:
    """Prints a status line when the state, phase, attempt or reason changes, and every 10 s while the run reports steps."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: tuple[object, ...] = ()
        self._at = 0.0

    def show(self, status: RunStatus, elapsed: float) -> None:
        key = (status.state, status.phase, status.attempt, status.reason)
        stepped = status.metrics.step is not None and elapsed - self._at >= _PLAIN_EVERY_S
        if key != self._last or stepped:
            self._last, self._at = key, elapsed
            print(line(status, elapsed), file=self._stream, flush=True)


def _follow_live(runner: Runner, run: str, stream: TextIO, started: float) -> RunStatus:
    from rich.live import Live

    with Live(console=terminal(stream), auto_refresh=False, transient=False) as live:
        state: list[object] = []

        def show(status: RunStatus) -> None:
            text = line(status, time.monotonic() - started)
            if state and state[0] != (status.state, status.attempt):
                live.console.print(styled(str(state[1])))
            state[:] = [(status.state, status.attempt), text]
            live.update(styled(text), refresh=True)

        return runner.wait(run, show)


def line(status: RunStatus, elapsed: float) -> str:
    """Return a run in one line: state, elapsed time and progress."""
    return f"{status.state:<10} {_clock(elapsed):>5}  {_progress(status)}".rstrip()


def _progress(status: RunStatus) -> str:
    metrics = status.metrics
    if status.state.ended or status.state is State.UNKNOWN:
        return "  ".join(part for part in (_outcome(status), figures(status)) if part)
    if status.state is State.PENDING:
        return status.detail or ""
    if metrics.step is None or status.state is State.RECOVERING:
        parts = [status.phase or "starting", f"from step {metrics.step}" if metrics.step is not None else "", _preflight(status)]
        return "  ".join(part for part in parts if part)
    left = _time_left(status)
    return "  ".join(part for part in (figures(status), f"{_clock(left)} left" if left is not None else "") if part)


def _preflight(status: RunStatus) -> str:
    fabric = status.fabric
    if fabric.verdict in (None, "skipped"):
        return ""
    rate = "" if fabric.busbw_gbs is None else f": {fabric.transport} all-reduce {fabric.busbw_gbs:.1f} GB/s"
    return f"preflight {fabric.verdict}{rate}"


def _outcome(status: RunStatus) -> str:
    reason = f"({status.reason})" if status.reason else ""
    code = f"exit code {status.exit_code}" if status.exit_code else ""
    return " ".join(part for part in (reason, code, status.detail or "") if part)


def figures(status: RunStatus) -> str:
    """Return the metrics that a run reported, in one line."""
    metrics = status.metrics
    step = None if metrics.step is None else f"step {metrics.step:,}" + (f"/{metrics.steps:,}" if metrics.steps else "")
    parts = [
        step,
        None if metrics.loss is None else f"loss {metrics.loss:.3f}",
        None if metrics.val_loss is None else f"val loss {metrics.val_loss:.3f}",
        None if metrics.tokens_per_s is None else f"{metrics.tokens_per_s / 1000:.1f}k tok/s",
        f"{images:,.0f} images/s" if isinstance(images := metrics.other.get("images_per_s"), int | float) else None,
        f"accuracy {accuracy:.1%}" if isinstance(accuracy := metrics.other.get("accuracy"), int | float) else None,
        None if metrics.mfu is None else f"MFU {metrics.mfu:.0%}",
        None if metrics.goodput is None else f"goodput {metrics.goodput:.2f}",
        None if metrics.lost_steps is None else f"{counted(metrics.lost_steps, 'step')} lost",
    ]
    return "  ".join(part for part in parts if part)


def _time_left(status: RunStatus) -> float | None:
    """Return the seconds left at this attempt's rate. The attempt may have started at a step after 0."""
    metrics, first, since = status.metrics, status.first_step, status.first_step_at
    if since is None or first is None or not metrics.step or not metrics.steps or metrics.step <= first:
        return None
    return (time.time() - since) / (metrics.step - first) * (metrics.steps - metrics.step)


def summary(status: RunStatus) -> str:
    """Return the summary of a run, with one line for each attempt."""
    took = (status.ended_at or time.time()) - status.submitted_at
    nodes = counted(status.nodes, "node") + (f" x {status.gpus}" if status.gpus else "")
    lines = [
        f"{status.state}  {status.pool} ({status.service.kind})  {nodes}  {_clock(took)}  attempt {status.attempt}",
        *(f"  {attempt.attempt}  {_attempt(attempt)}" for attempt in status.attempts),
        *(f"  {text}" for text in (_preflight(status), figures(status)) if text),
        *(f"  | {text}" for text in status.attempts[-1].tail),
        *([f"  submitted by  {status.submitted_by}"] if status.submitted_by else []),
        *([f"  command  {shlex.join(status.command)}"] if status.command else []),
        *([f"  labels  {', '.join(f'{name}={value}' for name, value in status.labels.items())}"] if status.labels else []),
        f"  cost  {status.cost.basis} = {_money(status)}",
        f"  checkpoints  {status.checkpoint_url}",
    ]
    console = [f"  console  {status.service.console_url}"] if status.service.console_url else []
    return "\n".join([*lines, *console, *_next_step(status)])


def _next_step(status: RunStatus) -> list[str]:
    """Return the commands that continue a stopped run. The run has no next attempt without them."""
    if status.state is not State.STOPPED:
        return []
    wait = f"gpuyard wait {status.run_id}{_yard_option()}"
    return [f"  next  nothing runs now. {wait} starts the next attempt if a retry is left; submitting the job again always does"]


def _money(status: RunStatus) -> str:
    limit = "" if status.cost.limit_usd is None else f" of ${status.cost.limit_usd:,.2f}"
    return f"${status.cost.usd:,.2f}{limit}" if status.cost.usd is not None else f"unknown{limit}"


def _attempt(attempt: Attempt) -> str:
    over = attempt.state.ended  # a replaced attempt may have an unknown end time
    until = attempt.ended_at if over else time.time()
    begun = attempt.started_at or until
    waited = "" if begun is None else f"PENDING {_clock(begun - attempt.submitted_at)}"
    ran = "" if attempt.started_at is None else "RUNNING" if until is None else f"RUNNING {_clock(until - attempt.started_at)}"
    end = "" if not over else f"-> {'done' if attempt.state is State.SUCCEEDED else attempt.reason or attempt.state}"
    if attempt.exit_code:
        end = f"{end} (exit code {attempt.exit_code})".lstrip()
    extra = [f"step {attempt.step:,}" if attempt.step is not None else "", counted(attempt.restarts, "restart") if attempt.restarts else ""]
    return "  ".join(part for part in (" ".join(part for part in (waited, ran, end) if part), *extra, attempt.detail or "") if part)


def _clock(total: float) -> str:
    minutes, seconds = divmod(max(0, int(total)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
