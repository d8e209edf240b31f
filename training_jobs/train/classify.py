"""A classifier's figures, all from one K x K count of what was and what was said."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def figures(matrix: npt.NDArray[Any]) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 as plain means over the classes (macro) and by their sizes (weighted).

    The rows are what was, the columns what was said. What would divide by zero counts as zero; a class that
    neither was nor was said is left out.
    """
    counts = matrix.astype(np.float64)
    hits, actual, said = np.diag(counts), counts.sum(1), counts.sum(0)
    seen = (actual + said) > 0
    precision, recall = _ratio(hits, said)[seen], _ratio(hits, actual)[seen]
    each = {"precision": precision, "recall": recall, "f1": _ratio(2 * hits, actual + said)[seen]}
    weights = _ratio(actual[seen], np.full(int(seen.sum()), max(actual.sum(), 1.0)))
    found = {"accuracy": float(hits.sum() / max(counts.sum(), 1.0))}
    for name, values in each.items():
        found[f"{name}_macro"] = float(values.mean()) if len(values) else 0.0
        found[f"{name}_weighted"] = float((values * weights).sum())
    return found


def csv(matrix: list[list[int]], classes: list[str]) -> bytes:
    """The matrix as a table with its classes' names."""
    names = classes or [str(number) for number in range(len(matrix))]
    rows = [",".join(["actual \\ predicted", *map(_quoted, names)])]
    rows += [",".join([_quoted(name), *map(str, row)]) for name, row in zip(names, matrix, strict=True)]
    return ("\n".join(rows) + "\n").encode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name


def _ratio(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
