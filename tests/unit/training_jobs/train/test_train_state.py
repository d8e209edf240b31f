"""The learning-rate schedule."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.train.config import Config
from gpuyard.training_jobs.train.train_state import schedule


def test_the_learning_rate() -> None:
    cosine, wsd = Config(steps=100, warmup=10, lr=1.0), Config(steps=100, warmup=10, lr=1.0, schedule="wsd")
    assert schedule(cosine, 0) == schedule(wsd, 0) == pytest.approx(0.1)
    assert [schedule(cosine, step) for step in (10, 100)] == pytest.approx([1.0, 0.1])
    assert [schedule(wsd, step) for step in (80, 91, 100)] == pytest.approx([1.0, 0.5, 0.0])
