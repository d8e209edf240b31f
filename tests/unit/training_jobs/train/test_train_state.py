"""The learning-rate schedule, and which rank saves what."""

from __future__ import annotations

import pytest
import torch

from gpuyard.training_jobs.train.config import Config
from gpuyard.training_jobs.train.train_state import own_share, scheduled_lr


def test_the_learning_rate_schedules() -> None:
    cosine, wsd = Config(steps=100, warmup=10, lr=1.0), Config(steps=100, warmup=10, lr=1.0, schedule="wsd")
    assert scheduled_lr(cosine, 0) == scheduled_lr(wsd, 0) == pytest.approx(0.1)
    assert [scheduled_lr(cosine, step) for step in (10, 100)] == pytest.approx([1.0, 0.1])
    assert [scheduled_lr(wsd, step) for step in (80, 91, 100)] == pytest.approx([1.0, 0.5, 0.0])


def test_each_rank_stages_its_share_of_replicated_tensors() -> None:
    """Eight ranks of a node would otherwise pin eight copies of the state: 126 GB for 1.3B parameters."""
    whole = {f"model/{number}": torch.zeros(size) for number, size in enumerate((100, 90, 60, 50, 40, 30, 20, 10))}
    shares = [own_share(whole | {f"random/{rank}/cpu": torch.zeros(3)}, rank, 4) for rank in range(4)]
    assert sorted(name for share in shares for name in share if name in whole) == sorted(whole)
    assert [[name for name in share if name.startswith("random")] for share in shares] == [[f"random/{rank}/cpu"] for rank in range(4)]
    assert max(sum(tensor.numel() for name, tensor in share.items() if name in whole) for share in shares) == 110  # of 400 over 4
