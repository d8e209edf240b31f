"""FLOPs per token and per image, as MFU counts them."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.train.config import Config, parse_config
from gpuyard.training_jobs.train.speed import conv_flops, gpt_flops, utilisation
from gpuyard.training_jobs.train.vision import ResNet


def test_flops_follow_palms_convention() -> None:
    work = gpt_flops(parse_config(["preset=gpt_1b3"]))
    assert work.palm == 6 * (12 * 24 * 2048**2 + 50304 * 2048) + 12 * 24 * 2048 * 2048
    assert work.causal == work.palm - 6 * 24 * 2048 * 2048 == work.hardware
    assert gpt_flops(Config(recompute="block")).hardware > gpt_flops(Config()).causal
    assert utilisation(work, 66_000.0, 1, 989e12)["mfu"] == pytest.approx(0.606, abs=0.02)
    assert utilisation(work, 1.0, 1, None) == {"mfu": None, "mfu_causal": None, "hfu": None}
    net = ResNet(Config(width=8, layers=1, vocab=10), 1, [0.0], [1.0])
    assert conv_flops(net, (8, 8)).palm == 6 * (sum(_uses(net)) + 32 * 10)


def _uses(net: ResNet) -> list[int]:
    """The multiplications of each convolution, by hand: stages of 8x8, 4x4 and 2x2."""
    stem, first = 9 * 8 * 64, 2 * 9 * 8 * 8 * 64
    second, third = (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16) * 16, (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 4
    return [stem, first, second, third]
