"""Turns an exception into a message on stderr, an exit code and, with --json, a JSON document."""

from __future__ import annotations

import sys

from gpuyard.training_jobs.errors import GpuyardError, UsageError
from gpuyard.training_jobs.state import Exit

__all__ = ["report"]


def report(error: Exception, *, as_json: bool) -> int:
    """Print the error and return the exit code. An internal error keeps its traceback, for the bug report."""
    known = isinstance(error, GpuyardError)
    code = error.exit_code if isinstance(error, GpuyardError) else Exit.INTERNAL
    if known:
        print(f"error: {error}", file=sys.stderr)
    else:
        import traceback

        traceback.print_exception(error)
        print("error: internal error of gpuyard; please report it with the lines above", file=sys.stderr)
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
