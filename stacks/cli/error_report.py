"""Turns what went wrong into a message on stderr, a JSON document where one was asked for, and an exit code."""

from __future__ import annotations

import sys

from gpuyard.training_jobs.errors import GpuyardError, UsageError
from gpuyard.training_jobs.state import Exit


def report(error: Exception, *, as_json: bool) -> int:
    """Tell the user, and return the exit code. A fault of our own keeps its traceback, for the bug report."""
    known = isinstance(error, GpuyardError)
    code = error.exit_code if isinstance(error, GpuyardError) else Exit.INTERNAL
    if known:
        print(f"error: {error}", file=sys.stderr)
    else:
        import traceback

        traceback.print_exception(error)
        print("error: this is a fault of gpuyard's own; please report it with the lines above", file=sys.stderr)
    if as_json:
        from .documents import ErrorDocument, ProblemDocument, emit

        problems = error.problems if isinstance(error, UsageError) else ()
        emit(
            ErrorDocument(
                error=str(error),
                exit_code=int(code),
                problems=[ProblemDocument(key=p.key, what=p.what, got=p.got, allowed=p.allowed, fix=p.fix) for p in problems],
            )
        )
    return int(code)
