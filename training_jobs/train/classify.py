"""Computes a classifier's metrics from one K x K confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def classification_metrics(matrix: npt.NDArray[Any]) -> dict[str, float]:
    """Compute accuracy, precision, recall and F1 from a confusion matrix.

    The rows of the matrix are actual classes, its columns predicted classes. Precision, recall and F1 are means over the classes:
    unweighted (macro) and weighted by class size (weighted). A division by zero gives zero. A class that neither occurs nor is
    predicted is left out.
    """
    counts = matrix.astype(np.float64)
    hits, actual, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    present = (actual + predicted) > 0
    precision, recall = _ratio(hits, predicted)[present], _ratio(hits, actual)[present]
    each = {"precision": precision, "recall": recall, "f1": _ratio(2 * hits, actual + predicted)[present]}
    weights = _ratio(actual[present], np.full(int(present.sum()), max(actual.sum(), 1.0)))
    found = {"accuracy": float(hits.sum() / max(counts.sum(), 1.0))}
    for name, values in each.items():
        found[f"{name}_macro"] = float(values.mean()) if len(values) else 0.0
        found[f"{name}_weighted"] = float((values * weights).sum())
    return found


def confusion_csv(matrix: list[list[int]], classes: list[str]) -> bytes:
    """Format the matrix as CSV with the names of the classes."""
    names = classes or [str(number) for number in range(len(matrix))]
    rows = [",".join(["actual \\ predicted", *map(_quoted, names)])]
    rows += [",".join([_quoted(name), *map(str, row)]) for name, row in zip(names, matrix, strict=True)]
    return ("\n".join(rows) + "\n").encode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name


def _ratio(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
