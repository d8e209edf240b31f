"""Whether what is trained is any good: too long for every run of the tests, `make quality` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_nodes import CHECKOUT


@pytest.mark.quality
def test_the_tiny_gpt_knows_more_than_trigrams(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "training_jobs.train", "steps=1200", f"out={tmp_path.as_uri()}"]
    subprocess.run(argv, cwd=CHECKOUT, check=True)
    result = json.loads((tmp_path / "result.json").read_text())
    print(f"validation loss {result['val_loss']:.4f}, trigrams {result['trigram_entropy']:.4f} nats per byte")
    assert result["val_loss"] < result["trigram_entropy"]
