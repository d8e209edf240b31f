"""The trainer's whole table on one GPU in under 8 minutes: `make bench-gpu`. Without a GPU it prints the reason and exits with 2.

`--device cpu` runs the same code with gpt_tiny, as a test of it. The data goes to benchmarks/train/results, with the commit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import report
from .plan import CPU, GPU, Candidate, Result, sweep

ROOT = Path(__file__).resolve().parents[2]
BUDGET_S = 460.0


def main(argv: list[str]) -> int:
    """Measure, print the table, write data and chart."""
    parser = argparse.ArgumentParser(prog="make bench-gpu")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for everything")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    asked = parser.parse_args(argv)
    began = time.monotonic()
    device = _device(asked.device)
    if device is None:
        print("bench-gpu: torch finds no GPU; nothing was measured", file=sys.stderr)
        return 2
    left_s = asked.budget - (time.monotonic() - began)
    found = sweep(GPU if asked.device == "cuda" else CPU, partial(_measure, device=asked.device), left_s)
    document = {**_about(device), "took_s": round(time.monotonic() - began, 1), "results": [result.plain() for result in found]}
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / f"{document['device'].replace(' ', '-')}-{document['commit'][:10]}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(report.table(document))
    drawn = report.chart(document, path.with_suffix(".png"))
    print(f"data: {path}{'' if drawn else '   (no chart: matplotlib is not installed)'}")
    return 0 if all(result.tokens_per_s for result in found if result.candidate.saves) else 1


def _device(kind: str) -> str | None:
    if kind == "cpu":
        return f"CPU {platform.machine()}"
    program = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    return said.stdout.strip() or None


def _measure(candidate: Candidate, limit_s: float, device: str) -> Result:
    """Measure one candidate in a process of its own, so that a crash affects only that candidate."""
    env = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})}
    module = "measure" if candidate.step == "trainer" else "baselines"
    argv = [sys.executable, "-m", f"benchmarks.train.{module}", json.dumps(asdict(candidate))]
    began = time.monotonic()
    try:
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=max(limit_s, 1.0))
        figures = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
        error = None if figures else (done.stderr.strip().splitlines() or ["no word"])[-1][:300]
    except subprocess.TimeoutExpired:
        figures, error = {}, f"not done in {limit_s:.0f} s"
    result = Result(candidate, figures.pop("tokens_per_s", None), error, {**figures, "took_s": round(time.monotonic() - began, 1)})
    print(report.line(result.plain()), file=sys.stderr, flush=True)
    return result


def _about(device: str) -> dict[str, Any]:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return {
        "device": device,
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "training_jobs", "benchmarks/train")),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "torch": version("torch"),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
