"""FLOPs per token and per image, as MFU counts them."""

from __future__ import annotations

import pytest

from gpuyard.training_jobs.train.config import Config, parse_config
from gpuyard.training_jobs.train.speed import conv_flops, gpt_flops, named_peak, utilisation
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


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        *(("NVIDIA L4", 121), ("NVIDIA L40", 181), ("NVIDIA L40S", 362), ("NVIDIA A10G", 70), ("NVIDIA A10", 125)),
        *(("NVIDIA H200 NVL", 835), ("NVIDIA H200", 989), ("NVIDIA GH200 480GB", 989), ("NVIDIA GB200", 2500), ("NVIDIA B200", 2250)),
        *(("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H100 NVL", 835), ("NVIDIA A100-SXM4-80GB", 312)),
        *(
            ("Tesla T4", 65),
            ("Tesla V100-SXM2-16GB", 125),
            ("Tesla V100-PCIE-16GB", 112),
            ("NVIDIA GeForce RTX 4090", None),
            ("NVIDIA A1000", None),
        ),
    ],
)
def test_the_peak_of_a_device(name: str, tera: int | None) -> None:
    assert named_peak(name) == (tera and tera * 1e12)


def _uses(net: ResNet) -> list[int]:
    """Count the multiplications of each convolution by hand: stages of 8x8, 4x4 and 2x2."""
    stem, first = 9 * 8 * 64, 2 * 9 * 8 * 8 * 64
    second, third = (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16) * 16, (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 4
    return [stem, first, second, third]
