"""The learning-rate schedule."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.train.config import Config
from gpuyard.training_jobs.train.train_state import scheduled_lr


def test_the_learning_rate_schedules() -> None:
    cosine, wsd = Config(steps=100, warmup=10, lr=1.0), Config(steps=100, warmup=10, lr=1.0, schedule="wsd")
    assert scheduled_lr(cosine, 0) == scheduled_lr(wsd, 0) == pytest.approx(0.1)
    assert [scheduled_lr(cosine, step) for step in (10, 100)] == pytest.approx([1.0, 0.1])
    assert [scheduled_lr(wsd, step) for step in (80, 91, 100)] == pytest.approx([1.0, 0.5, 0.0])
