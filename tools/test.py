"""`make test`: set up what is missing, run every check and test, and print each step's time beside its budget."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started by its path, so the checkout is not on sys.path
from tools import venv
from tools.engine import bootstrap
from tools.node import packages as node
from tools.progress import Progress
from tools.security import scanner

__all__ = ["CHECKS", "CODE", "PYTHON", "ROOT", "SETUP_BUDGET_S", "TESTS", "Step", "main"]

ROOT = Path(__file__).resolve().parents[1]
PYTHON = str(ROOT / ".venv" / "bin" / "python")
CODE = ["gpuyard", "tests", "tools", "benchmarks"]


@dataclass(frozen=True)
class Step:
    """A step: its command and its time budget in seconds on 2 cores."""

    name: str
    budget_s: int
    argv: list[str]


CHECKS = [
    Step("format", 5, [PYTHON, "-m", "ruff", "format", "--check", "."]),
    Step("lint", 5, [PYTHON, "-m", "ruff", "check", "."]),
    Step("types", 60, [PYTHON, "-m", "mypy", *(name for name in CODE if (ROOT / name).is_dir())]),
]
TESTS = Step("tests", 840, [PYTHON, "-m", "pytest", "-n", "auto", "--dist", "worksteal", "--durations=10"])
SETUP_BUDGET_S = {"python": 300, "engine": 600, "scanner": 60, "node": 90}  # for the first run; later runs take seconds


def main() -> int:
    """Run all steps, also after a failure, so that one run shows every problem."""
    what, *arguments = sys.argv[1:] or ["all"]
    progress = Progress(sys.stdout)
    rows: list[tuple[str, float, int, bool]] = []
    try:
        _timed(rows, "python", lambda: venv.ensure(ROOT, "dev", progress.say))
        steps = list(CHECKS)
        if what == "all":
            _timed(rows, "engine", lambda: bootstrap.ensure(ROOT, say=progress.say))
            _timed(rows, "scanner", lambda: scanner.ensure(ROOT, progress.say))
            _timed(rows, "node", lambda: node.ensure(ROOT, progress.say))
            steps.append(Step(TESTS.name, TESTS.budget_s, [*TESTS.argv, *arguments]))
        progress.end()
        for step in steps:
            print(f"== {step.name}", flush=True)
            begun = time.monotonic()
            code = subprocess.run(step.argv, cwd=ROOT, env=dict(os.environ), check=False).returncode
            rows.append((step.name, time.monotonic() - begun, step.budget_s, code == 0))
    except (venv.VenvError, bootstrap.NoEngineError) as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.end()
        print("interrupted; run it again", file=sys.stderr)
        return 130
    return _report(rows)


def _timed(rows: list[tuple[str, float, int, bool]], name: str, work: Callable[[], object]) -> None:
    begun = time.monotonic()
    work()
    rows.append((name, time.monotonic() - begun, SETUP_BUDGET_S[name], True))


def _report(rows: list[tuple[str, float, int, bool]]) -> int:
    print("\nstep       seconds   budget")
    for name, seconds, budget, passed in rows:
        word = ("ok" if seconds <= budget else "ok, but over its budget") if passed else "FAILED"
        print(f"{name:<10} {seconds:7.1f} {budget:8}   {word}")
    return 0 if all(passed for *_, passed in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
