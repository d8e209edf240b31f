"""Draws the loss curve and the confusion matrix as PNG if matplotlib is installed."""

from __future__ import annotations

import io
from typing import Any

from .optional import import_optional
from .tasks import Figures


def loss_curve(points: list[Figures], marks: dict[str, float], title: str) -> bytes | None:
    """Draw the loss over the steps. Returns None without matplotlib.

    Dots are validations, dashed lines are `marks`, dotted lines are restarts. A classifier's accuracy uses the right axis.
    """
    figure, axes = _figure(7, 4)
    if figure is None:
        return None
    for name, style in (("loss", {"linewidth": 1.2}), ("val_loss", {"marker": "o", "linestyle": "", "markersize": 4})):
        known = [(point["step"], point[name]) for point in points if point.get(name) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), label=name.replace("val_", "validation "), **style)
    for name, value in marks.items():
        axes.axhline(value, linestyle="--", linewidth=0.8, color="grey")
        axes.annotate(name.replace("_", " "), (0.99, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    for number, step in enumerate(point["step"] for point in points if "restart" in point):
        axes.axvline(step, linestyle=":", linewidth=0.8, color="grey", label="" if number else "restart")
    axes.set(xlabel="step", ylabel="loss in nats", title=title)
    if points:
        axes.legend(frameon=False)
    scored = [(point["step"], point["accuracy"]) for point in points if point.get("accuracy") is not None]
    if scored:
        right = axes.twinx()
        right.plot(*zip(*scored, strict=True), color="green", marker="s", linestyle="", markersize=4)
        right.set_ylabel("accuracy", color="green")
        right.set_ylim(0, 1)
    return _png(figure)


def confusion_matrix(matrix: list[list[int]], classes: list[str]) -> bytes | None:
    """Draw a confusion matrix: rows are actual classes, columns are predicted classes. Returns None without matplotlib."""
    side = min(3 + 0.4 * len(matrix), 20)
    figure, axes = _figure(side, side)
    if figure is None:
        return None
    axes.imshow([[count / max(sum(row), 1) for count in row] for row in matrix], cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="actual", xticks=range(len(matrix)), yticks=range(len(matrix)))
    if classes:
        axes.set_xticklabels(classes, rotation=45 if max(map(len, classes)) > 3 else 0)
        axes.set_yticklabels(classes)
    if len(matrix) <= 40:
        for row, counts in enumerate(matrix):
            for column, count in enumerate(counts):
                dark = count > sum(counts) / 2
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color="white" if dark else "black")
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    module = import_optional("matplotlib.figure")
    if module is None:
        return None, None
    figure = module.Figure((width, height), dpi=120, layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
