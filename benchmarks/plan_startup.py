"""CPU time of a cold `gpuyard plan --stack dev-aws` against `import pulumi`, with and without SDK modules that load on use.

python benchmarks/plan_startup.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PLAN = "import sys; sys.path.insert(0, {root!r}); {before} from gpuyard.stacks.cli import main; main()"
_ALL_MODULES = "import gpuyard.components.lazy_sdk as lazy; lazy.load_on_use = lambda package: None;"


def cpu_seconds(code: str) -> float:
    """Return user and system CPU seconds of one fresh process."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = os.times()
    subprocess.run([sys.executable, "-c", code, "plan", "--stack", "dev-aws"], check=True, capture_output=True, env=env, cwd=ROOT)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(runs: int = 10) -> None:
    """Run the programs in turns, drop one warm-up each, print medians and ratios."""
    programs = {
        "import pulumi": "import pulumi",
        "plan": _PLAN.format(root=str(ROOT), before=""),
        "plan, all modules": _PLAN.format(root=str(ROOT), before=_ALL_MODULES),
    }
    samples: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(runs + 1):
        for name, code in programs.items():
            seconds = cpu_seconds(code)
            if turn:
                samples[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    for name, values in samples.items():
        ratio = medians[name] / medians["import pulumi"]
        print(f"{name:<18} median {medians[name]:.3f} s CPU   min {min(values):.3f}   max {max(values):.3f}   {ratio:.2f}x ({runs} runs)")


if __name__ == "__main__":
    main()
