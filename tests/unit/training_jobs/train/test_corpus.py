"""The standard library corpus: deterministic, disjoint splits, known entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpuyard.training_jobs.train import corpus
from gpuyard.training_jobs.train.config import ConfigError


def test_the_corpus_is_deterministic_and_its_splits_are_disjoint() -> None:
    one, two = (corpus.load(300_000, 4096) for _ in range(2))
    assert np.array_equal(one.train, two.train)
    assert np.array_equal(one.validation, two.validation)
    assert (len(one.validation), len(one.train)) == (4096, 300_000)
    assert one.validation[:200].tobytes() not in one.train.tobytes()
    with pytest.raises(ConfigError, match="val_bytes: got 1000000000, allowed: less than the"):
        corpus.load(1, 10**9)


def test_the_entropy_of_known_texts() -> None:
    assert corpus.entropy(np.frombuffer(b"abcabcabcabc", np.uint8), 2) == 0.0
    coin = np.random.default_rng(0).integers(0, 2, 100_000).astype(np.uint8)
    assert math.isclose(corpus.entropy(coin, 3), math.log(2), rel_tol=1e-3)
