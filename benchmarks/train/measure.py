"""Measures one candidate in a process of its own: `python -m benchmarks.train.measure '<JSON of plan.Candidate>'`.

The last line of its output is JSON. It runs the trainer's own loop, and speeds are those of its metrics.jsonl, whose host waits only
for the step before. A step is one microbatch, so the optimizer's share is larger than in training.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gpuyard.training_jobs.train.config import RunEnvironment, parse_config
from gpuyard.training_jobs.train.loop import Trainer
from gpuyard.training_jobs.train.process_group import join_process_group

_SMI = ("nvidia-smi", "--query-gpu=power.draw,clocks.sm,temperature.gpu", "--format=csv,noheader,nounits", "--id=0")
_WINDOW = 4
_BETWEEN_SAVES = 1000  # steps


def main(argv: list[str]) -> int:
    """Measure and print the result."""
    candidate = json.loads(argv[0])
    words, first = candidate["words"], candidate["first"]
    micro = int(words["micro"])
    asked = {"preset": candidate["preset"], **words, "batch": micro, "steps": candidate["steps"], "log_every": _WINDOW, "saving": "async"}
    config = parse_config([f"{key}={value}" for key, value in asked.items()])
    torch.set_num_threads(config.threads)  # as the trainer's own program: on a busy CPU torch's threads wait for each other
    join_process_group()
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        url = Path(folder).as_uri()
        trainer = Trainer(config, RunEnvironment(url, f"{url}/checkpoints", 86_400, 1, 1, None))
        save, close = trainer.state.save, trainer.state.saver.close
        trainer._save = lambda wait: None  # type: ignore[method-assign]  # not while the speed is measured
        trainer.state.saver.close = lambda: None  # type: ignore[method-assign]  # nor before it is measured too
        with _Samples() as samples:
            trainer.train()
        found = figures(trainer.metrics.lines, first, trainer.config.context * micro, samples.seen)
        found |= {"strategy": trainer.config.strategy, "precision": trainer.config.precision, "parameters": trainer.state.parameters}
        if candidate["saves"]:
            for _ in range(2):  # the first save allocates the pinned memory
                save(False)
                trainer.state.saver.finish()
            blocked_s = trainer.state.saver.blocked_s[-1]
            found |= {"save_blocked_s": blocked_s, "save_s": trainer.state.saver.duration_s}
            found["save_share"] = blocked_s / (_BETWEEN_SAVES * found["step_s"])
        close()
    dist.destroy_process_group()
    print(json.dumps(found), flush=True)
    return 0


def figures(lines: list[dict[str, Any]], first: int, tokens: int, samples: list[list[float]]) -> dict[str, Any]:
    """Return the medians over the windows that begin at step `first` or later."""
    counted = [line for line in lines if line["step"] - _WINDOW >= first and "tokens_per_s" in line]
    rate = statistics.median(line["tokens_per_s"] for line in counted)
    middle = [statistics.median(values) for values in zip(*samples, strict=True)] or [None] * 3
    return {
        "tokens_per_s": rate,
        "step_s": tokens / rate,
        **{name: _median(counted, name) for name in ("mfu", "mfu_causal", "hfu", "data_wait")},
        "memory_gib": max((line["memory_gib"] for line in lines if "memory_gib" in line), default=None),
        **dict(zip(("watts", "mhz", "celsius"), middle, strict=True)),
        "windows": len(counted),
    }


def _median(lines: list[dict[str, Any]], name: str) -> float | None:
    values = [line[name] for line in lines if line[name] is not None]
    return statistics.median(values) if values else None


def _scratch() -> str | None:
    """Return a folder in memory where there is one: the measurement is how long a save blocks, without the disk."""
    return next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # noqa: S108 a private folder is made in it


class _Samples:
    """Samples the GPU's power, clock and temperature once a second. Empty without nvidia-smi."""

    def __enter__(self) -> _Samples:
        self.seen: list[list[float]] = []
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            try:
                said = subprocess.run(_SMI, capture_output=True, text=True, timeout=5, check=True).stdout
                self.seen.append([float(value) for value in said.split(",")])
            except (OSError, ValueError, subprocess.SubprocessError):
                return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
