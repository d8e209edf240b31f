"""Draws compared runs as a PNG: one line per run through its options to its metric (parallel coordinates)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpuyard.problems import Problem
from gpuyard.training_jobs.comparison import metric_of
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.status import RunStatus

__all__ = ["draw", "positions"]


def positions(values: Sequence[str]) -> tuple[list[float], list[str]]:
    """Return where values lie on an axis from 0 to 1, and the labels at its ends. Numbers keep their distances; texts are sorted."""
    try:
        numbers = [float(value) for value in values]
        if not all(map(math.isfinite, numbers)):
            raise ValueError
    except ValueError:
        order = sorted(set(values))
        numbers = [float(order.index(value)) for value in values]
        ends = [order[0], order[-1]]
    else:
        ends = [f"{min(numbers):g}", f"{max(numbers):g}"]
    low, high = min(numbers), max(numbers)
    return [0.5 if high == low else (number - low) / (high - low) for number in numbers], ends


def draw(runs: Sequence[tuple[Mapping[str, str], RunStatus]], metric: str, chosen: RunStatus | None, file: Path) -> None:
    """Write the chart of the runs that have all options and the metric.

    Raises UsageError without matplotlib, or if there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        fix = "pip install matplotlib"
        raise UsageError("the chart cannot be drawn", [Problem("--chart", "matplotlib is not installed", fix=fix)]) from None
    names = list(dict.fromkeys(name for values, _ in runs for name in values))
    drawn = [(values, status) for values, status in runs if math.isfinite(_number(status, metric)) and set(names) <= set(values)]
    if not drawn:
        what = f"no run has reported {metric} and has all of {', '.join(names)}" if names else f"no run has reported {metric}"
        raise UsageError("the chart cannot be drawn", [Problem("--chart", what)])
    axes = [*names, metric]
    columns = [[values[name] for values, _ in drawn] for name in names] + [[f"{metric_of(status, metric):.6g}" for _, status in drawn]]
    placed = [positions(column) for column in columns]
    figure = Figure(figsize=(2 + 2 * len(axes), 4), layout="constrained")
    plot = figure.subplots()
    for index, (_, status) in enumerate(drawn):
        is_best = chosen is not None and status.run_id == chosen.run_id
        heights = [axis[0][index] for axis in placed]
        plot.plot(range(len(axes)), heights, color="tab:red" if is_best else "tab:blue", linewidth=2.5 if is_best else 1.0, marker="o")
    for place, (_, (low, high)) in enumerate(placed):
        plot.axvline(place, color="0.8", zorder=0)
        plot.text(place, -0.04, low, ha="center", va="top")
        plot.text(place, 1.04, high, ha="center", va="bottom")
    plot.set_xticks(range(len(axes)), axes)
    plot.set_yticks([])
    plot.set_ylim(-0.15, 1.15)
    plot.set_title(f"best {metric}: {chosen.run_id}" if chosen is not None else metric, fontsize=10)
    try:
        figure.savefig(file, dpi=120)
    except (OSError, ValueError) as error:
        raise UsageError("the chart cannot be written", [Problem("--chart", str(error), str(file), "a file such as sweep.png")]) from None


def _number(status: RunStatus, metric: str) -> float:
    """Return the metric; NaN if the run has not reported it."""
    value = metric_of(status, metric)
    return math.nan if value is None else value
