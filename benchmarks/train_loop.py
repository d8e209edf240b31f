"""Steps per second of the trainer's loop against the plainest PyTorch loop of the same model: `python benchmarks/train_loop.py`.

One process, one thread, gpt_tiny, the text of the standard library. Both are measured in CPU time and in turns, so that other load
affects both.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as dist

from gpuyard.training_jobs.train.config import Config, RunEnvironment
from gpuyard.training_jobs.train.loop import Trainer
from gpuyard.training_jobs.train.process_group import join_process_group

STEPS = 40


def plain(trainer: Trainer) -> None:
    """Train with the simplest loop: random windows, backward pass, clipping, optimizer step, and the loss read after each step."""
    config, text = trainer.config, trainer.state.data.train
    data = torch.from_numpy(text[0].copy()) if text else torch.zeros(0)
    model = trainer.task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, fused=True)
    for _ in range(STEPS):
        starts = torch.randint(0, len(data) - config.context - 1, (config.batch,))
        rows = data[starts[:, None] + torch.arange(config.context + 1)].long()
        loss = model(rows[:, :-1], rows[:, 1:]) / (config.batch * config.context)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()


def main(runs: int = 5) -> None:
    """Run both in turns, drop one warm-up each, print medians and the ratio."""
    torch.set_num_threads(1)
    join_process_group()
    taken: dict[str, list[float]] = {"plain": [], "trainer": []}
    for turn in range(runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            url = Path(folder).as_uri()
            trainer = Trainer(replace(Config(), steps=STEPS), RunEnvironment(url, f"{url}/checkpoints", 600, 1, 1, None))
            trainer.state.save = lambda wait: None  # type: ignore[method-assign]  # the loop, not the disk
            for name, act in (("plain", partial(plain, trainer)), ("trainer", trainer.train)):
                began = time.process_time()
                act()
                if turn:
                    taken[name].append(STEPS / (time.process_time() - began))
    dist.destroy_process_group()
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, values in taken.items():
        print(f"{name:<8} median {medians[name]:.1f} steps/s of CPU   min {min(values):.1f}   max {max(values):.1f}   ({runs} runs)")
    print(f"ratio trainer / plain: {medians['trainer'] / medians['plain']:.2f}   (goal: at least 0.95)")


if __name__ == "__main__":
    main()
