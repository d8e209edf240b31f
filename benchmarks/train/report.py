"""The benchmark's results as a table and as a chart."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

_COLUMNS = (
    ("tokens/s", "tokens_per_s", "{:,.0f}"),
    ("MFU", "mfu", "{:.1%}"),
    ("causal", "mfu_causal", "{:.1%}"),
    ("GiB", "memory_gib", "{:.1f}"),
    ("W", "watts", "{:.0f}"),
    ("MHz", "mhz", "{:.0f}"),
    ("async save blocks", "save_blocked_s", "{:.2f} s"),
    ("of 1,000 steps", "save_share", "{:.2%}"),
)


def name(result: dict[str, Any]) -> str:
    """Return a short name of a candidate."""
    words = result["candidate"]["words"]
    step = result["candidate"]["step"]
    return " ".join(
        [
            *([] if step == "trainer" else [step]),
            result["candidate"]["preset"],
            *(f"{key}={value.split(',')[0]}" for key, value in words.items()),
        ]
    )


def line(result: dict[str, Any]) -> str:
    """Return one result as a line of the progress output."""
    if result["error"]:
        return f"{name(result)}: {result['error']}"
    mfu = result["figures"].get("mfu")
    return f"{name(result)}: {result['tokens_per_s']:,.0f} tokens/s" + (f", MFU {mfu:.1%}" if mfu else "")


def table(document: dict[str, Any]) -> str:
    """Return Markdown: the long measurement of every preset, then the sweep."""
    changed = " with changes" if document["changed"] else ""
    rows = [f"{document['device']}, torch {document['torch']}, commit {document['commit'][:10]}{changed}, {document['took_s']:.0f} s", ""]
    rows += [f"| settings | {' | '.join(title for title, _, _ in _COLUMNS)} |", f"|---|{'---|' * len(_COLUMNS)}"]
    rows += [_row(result) for result in document["results"] if result["candidate"]["saves"]]
    tried = [result for result in document["results"] if not result["candidate"]["saves"]]
    rows += ["", "Tried:", *(f"- {line(result)}" for result in tried if result["candidate"]["step"] == "trainer")]
    rows += [
        "",
        "Other steps of the same model:",
        *(_beside(result, tried) for result in tried if result["candidate"]["step"] != "trainer"),
    ]
    return "\n".join(rows)


def _beside(result: dict[str, Any], tried: list[dict[str, Any]]) -> str:
    """Return the line of a step of baselines.py, with the trainer's speed relative to it (same preset and microbatch)."""
    shape = (result["candidate"]["preset"], result["candidate"]["words"]["micro"])
    same = [one for one in tried if one["candidate"]["step"] == "trainer" and one["tokens_per_s"]]
    ours = [one["tokens_per_s"] for one in same if (one["candidate"]["preset"], one["candidate"]["words"]["micro"]) == shape]
    ratio = f", the trainer is {max(ours) / result['tokens_per_s']:.2f}x" if ours and result["tokens_per_s"] else ""
    return f"- {line(result)}{ratio}"


def chart(document: dict[str, Any], path: Path) -> bool:
    """Draw every candidate's speed beside the best of its preset. Return False when matplotlib is missing."""
    try:
        figure: Any = importlib.import_module("matplotlib.figure")
    except ImportError:
        return False
    results = [result for result in document["results"] if result["tokens_per_s"]]
    best: dict[str, float] = {}
    for result in results:
        preset = result["candidate"]["preset"]
        best[preset] = max(best.get(preset, 0.0), result["tokens_per_s"])
    drawn = figure.Figure(figsize=(10, 1 + 0.35 * len(results)), layout="constrained")
    axes = drawn.subplots()
    axes.barh(
        [f"{name(result)}{' (long)' if result['candidate']['saves'] else ''}" for result in results],
        [result["tokens_per_s"] / best[result["candidate"]["preset"]] for result in results],
    )
    axes.invert_yaxis()
    axes.set_xlabel("speed, the best of its preset = 1")
    axes.set_title(f"{document['device']}, commit {document['commit'][:10]}")
    drawn.savefig(path, dpi=110)
    return True


def _row(result: dict[str, Any]) -> str:
    figures = {"tokens_per_s": result["tokens_per_s"], **result["figures"]}
    cells = [form.format(figures[key]) if figures.get(key) is not None else "-" for _, key, form in _COLUMNS]
    return f"| {name(result)} | {' | '.join(cells)} |" if not result["error"] else f"| {name(result)} | {result['error']} |"
