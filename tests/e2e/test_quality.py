"""The quality of a trained model: the tiny GPT against trigrams, which see the two previous bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gpuyard.training_jobs.train import corpus
from gpuyard.training_jobs.train.config import Config
from tests.helpers.node_processes import CHECKOUT


def _train(folder: Path, *words: str) -> tuple[float, float]:
    """Train. Return the loss on the validation files, and the corpus's trigram entropy as the trainer measures it."""
    argv = [sys.executable, "-m", "gpuyard.training_jobs.train", *words, f"out={folder.as_uri()}"]
    subprocess.run(argv, cwd=CHECKOUT, check=True)
    result = json.loads((folder / "result.json").read_text())
    print(f"validation loss {result['val_loss']:.4f}, the corpus's trigrams {result['trigram_entropy']:.4f} nats per byte")
    return result["val_loss"], result["trigram_entropy"]


def _trigrams(learnt: npt.NDArray[np.uint8], text: npt.NDArray[np.uint8]) -> float:
    """Return the cross-entropy in nats of a trigram model of one text on another: Witten and Bell's interpolation of the orders."""
    mixed = np.full(len(text) - 2, 1 / 256)
    for order in (1, 2, 3):
        grams_learnt = _grams(learnt, order)
        counts = np.bincount(grams_learnt, minlength=256**order)
        before = counts.reshape(-1, 256)
        total, kinds = before.sum(1), (before > 0).sum(1)
        grams = _grams(text, order)[3 - order :]
        context = grams // 256
        mixed = (counts[grams] + kinds[context] * mixed) / np.maximum(total[context] + kinds[context], 1) + (total[context] == 0) * mixed
    return float(-np.log(mixed).mean())


def _grams(text: npt.NDArray[np.uint8], order: int) -> npt.NDArray[np.int64]:
    wide = text.astype(np.int64)
    found: npt.NDArray[np.int64] = np.sum([wide[at : len(wide) - order + 1 + at] * 256 ** (order - 1 - at) for at in range(order)], axis=0)
    return found


def test_the_trigram_model_measures_known_entropies() -> None:
    text = np.random.default_rng(0).integers(0, 2, 200_000).astype(np.uint8)
    assert _trigrams(text[:100_000], text[100_000:]) == pytest.approx(np.log(2), rel=1e-3)
    cycle = np.tile(np.arange(5, dtype=np.uint8), 2000)
    assert _trigrams(cycle, cycle) < 0.01


@pytest.mark.timeout(900)
def test_the_tiny_gpt_beats_trigrams_of_the_same_text(tmp_path: Path) -> None:
    text = corpus.load(Config().corpus_bytes, Config().val_bytes)
    model = _trigrams(text.train, text.validation)
    print(f"a trigram model learnt from the same text: {model:.4f} nats per byte")
    loss, measured = _train(tmp_path, "steps=600", "batch=16", "schedule=wsd")
    assert loss < min(model, measured)


@pytest.mark.quality
def test_the_tiny_gpt_beats_the_trigram_entropy_of_the_validation_text(tmp_path: Path) -> None:
    """A hard bound: no trigram model of another text reaches the trigram entropy of the validation text itself."""
    text = corpus.load(Config().corpus_bytes, Config().val_bytes).validation
    assert _train(tmp_path, "steps=1200")[0] < corpus.entropy(text, 3)
