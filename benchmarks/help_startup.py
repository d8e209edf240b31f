"""CPU time of a cold `gpuyard --help` against a bare typer program with one command: `python benchmarks/help_startup.py`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BARE = "import typer; app = typer.Typer(); app.command()(lambda: None); app.command('b')(lambda: None); app()"
_OURS = "import sys; sys.path.insert(0, {root!r}); from gpuyard.stacks.cli import main; main()"


def cpu_seconds(code: str) -> float:
    """Return user and system CPU seconds of one fresh process that prints its help."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = os.times()
    subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True, env=env)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(runs: int = 15) -> None:
    """Run both in turns, drop one warm-up each, print medians and the ratio."""
    programs = {"bare typer": _BARE, "gpuyard": _OURS.format(root=str(ROOT))}
    samples: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(runs + 1):
        for name, code in programs.items():
            seconds = cpu_seconds(code)
            if turn:
                samples[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    for name, values in samples.items():
        print(f"{name:<12} median {medians[name]:.3f} s CPU   min {min(values):.3f}   max {max(values):.3f}   ({runs} runs)")
    print(f"ratio gpuyard / bare typer: {medians['gpuyard'] / medians['bare typer']:.2f}   (goal: at most 1.20)")


if __name__ == "__main__":
    main()
