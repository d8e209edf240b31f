"""The presets. Each has the settings that differ from Config's defaults. To add a preset, add a row.

The larger presets have batches of about half a million tokens. `micro` should fit on one GPU with 80 GB. Each `lr` is the peak
learning rate of GPT-3 for this size: 6e-4, 3e-4, 2e-4 and 1.2e-4 for 125M, 350M, 1.3B and 6.7B, with batches of 0.5, 0.5, 1 and 2
million tokens (arXiv:2005.14165, table 2.1). Pythia uses the same rates with batches of 2 to 4 million tokens (README and configs of
github.com/EleutherAI/pythia). Both were read 2026-12-01. Models with normalised queries and keys tolerate higher rates. No run on a GPU
has tuned them. The names count the embedding once, as GPT-2 does, although their output matrices are separate. The
output matrix of gpt_tiny is its embedding, with which it learns faster.
"""

from __future__ import annotations

from typing import Any


def _gpt(width: int, layers: int, context: int, micro: int, lr: float, steps: int) -> dict[str, Any]:
    """Return settings for a GPT with heads of width 128 and GPT-2's vocabulary. It uses synthetic data until `data=` is set."""
    tokens = 2**19
    return {
        "data": "synthetic",
        "width": width,
        "layers": layers,
        "heads": width // 128,
        "context": context,
        "vocab": 50257,
        "tied": "off",
        "batch": tokens // context,
        "micro": micro,
        "lr": lr,
        "warmup": 200,
        "schedule": "wsd",
        "steps": steps,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "gpt_tiny": {},
    "gpt_124m": {"preset": "gpt_124m", **_gpt(768, 12, 1024, 32, 6e-4, 5_000)},
    "gpt_350m": {"preset": "gpt_350m", **_gpt(1024, 24, 1024, 32, 3e-4, 14_000)},
    "gpt_1b3": {"preset": "gpt_1b3", **_gpt(2048, 24, 2048, 8, 2e-4, 50_000)},
    "gpt_7b": {"preset": "gpt_7b", **_gpt(4096, 32, 4096, 1, 1.2e-4, 260_000), "recompute": "block"},
    "resnet_digits": {
        "preset": "resnet_digits",
        "task": "resnet",
        "data": "digits",
        "width": 16,
        "layers": 1,
        "vocab": 10,
        "batch": 64,
        "steps": 400,
        "lr": 6e-3,
        "warmup": 20,
        "label_smoothing": 0.05,
        "shift": 1,
    },
}
