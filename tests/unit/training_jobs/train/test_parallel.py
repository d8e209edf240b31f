"""The parallel strategy chosen for a model's size."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.train.config import ConfigError
from gpuyard.training_jobs.train.parallel import choose_strategy


def test_the_strategy_follows_the_size() -> None:
    chosen = [
        choose_strategy("auto", parameters, memory, world, 8)[0]
        for parameters, memory, world in (
            *((10**6, None, 4), (10**9, 80 * 2**30, 1), (10**9, 80 * 2**30, 16)),
            *((13 * 10**9, 80 * 2**30, 16), (70 * 10**9, 80 * 2**30, 64)),
        )
    ]
    assert chosen == ["ddp", "single", "ddp", "hsdp", "fsdp"]
    with pytest.raises(ConfigError, match="strategy: got single, but there are 2 ranks"):
        choose_strategy("single", 1, None, 2, 2)
