"""Keeps the values that a job reported for each metric, so that a sweep can compare a trial with the others at the same step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

__all__ = ["MOST_METRICS", "MOST_POINTS", "Curves"]

MOST_METRICS = 16
MOST_POINTS = 64
"""Largest number of points of a metric. When it is reached, every second point is dropped, so that a curve covers the whole run."""


class Curves:
    """Curves of the reported metrics. A point is [step, value]. A value that equals the value before it adds no point."""

    def __init__(self) -> None:
        self._points: dict[str, list[list[float]]] = {}

    def restore(self, document: object) -> None:
        """Continue the curves of an earlier attempt. `document`: the result of `as_document` from storage. Invalid parts are ignored."""
        for name, points in document.items() if isinstance(document, Mapping) else ():
            for point in points if isinstance(points, list) else ():
                if isinstance(point, list) and len(point) == 2:
                    self.add(point[0], {name: point[1]})

    def add(self, step: object, metrics: Mapping[str, object]) -> None:
        """Add the numbers of a report. Points at this step or later are replaced, because a restarted job repeats steps."""
        if not _is_number(step):
            return
        for name, value in metrics.items():
            if _is_number(value) and (name in self._points or len(self._points) < MOST_METRICS):
                self._points[name] = _added(self._points.get(name, []), float(step), float(value))

    def as_document(self) -> dict[str, list[list[float]]]:
        """Return a copy as plain data: metric -> points."""
        return {name: list(points) for name, points in self._points.items()}


def _added(points: list[list[float]], step: float, value: float) -> list[list[float]]:
    before = [point for point in points if point[0] < step]
    if before and before[-1][1] == value:
        return before
    return [*(before[::2] if len(before) >= MOST_POINTS else before), [step, value]]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # NaN is not smaller
