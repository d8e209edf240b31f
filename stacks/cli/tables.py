"""Tables of runs: the list, and runs side by side with a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from gpuyard.training_jobs.comparison import metric_of
from gpuyard.training_jobs.state import Reason
from gpuyard.training_jobs.status import RunStatus

from .view import figures

__all__ = ["comparison", "shown_state", "table"]

_BAR = 24  # characters of the longest bar


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def comparison(runs: Sequence[tuple[Mapping[str, str], RunStatus]], metric: str, chosen: RunStatus | None) -> str:
    """Return a table of runs with the options of each and a metric, and the best run. `chosen`: the best run; None: there is none."""
    names = list(dict.fromkeys(name for values, _ in runs for name in values))
    values = [metric_of(status, metric) for _, status in runs]
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    rows = [
        (
            *(given.get(name, "") for name in names),
            shown_state(status),
            "" if value is None else f"{value:.4g}",
            "" if value is None or not math.isfinite(value) or not largest else "#" * max(1, round(_BAR * abs(value) / largest)),
            status.run_id + (" *" if chosen is not None and status.run_id == chosen.run_id else ""),
        )
        for (given, status), value in zip(runs, values, strict=True)
    ]
    told = f"best {metric} *: {chosen.run_id}" if chosen is not None else f"no run that succeeded has reported {metric}"
    return f"{_columns([(*names, 'STATE', metric, '', 'RUN'), *rows])}\n{told}"


def shown_state(status: RunStatus) -> str:
    """Return a run's state, and whether it is a pruned trial of a sweep."""
    return f"{status.state} (pruned)" if status.reason is Reason.PRUNED else str(status.state)


def table(runs: Sequence[RunStatus]) -> str:
    """Return a heading and one line for each run."""
    heading = ("RUN", "STATE", "POOL", "ATTEMPT", "SUBMITTED", "BY", "PROGRESS")
    rows = [
        (run.run_id, str(run.state), run.pool, str(run.attempt), _when(run.submitted_at), _short(run.submitted_by), figures(run))
        for run in runs
    ]
    return _columns([heading, *rows])


def _short(principal: str | None) -> str:
    """Return the part of a principal that names the person or workload: the session of an AWS role, else the whole text."""
    return (principal or "").rpartition("/")[2] if (principal or "").startswith("arn:") else principal or "unknown"


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")
