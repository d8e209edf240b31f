"""The parallel strategy chosen for a model's size, and the precision chosen for a device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gpuyard.training_jobs.train.config import Config, ConfigError
from gpuyard.training_jobs.train.parallel import RankInfo, choose_strategy, resolve_auto


def test_emulated_bf16_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**34))
    t4 = RankInfo(0, 1, 1, torch.device("cuda", 0))
    config, reasons = resolve_auto(Config(), t4, 1000)
    assert config.precision == "fp32"
    assert "fp32 (Tesla T4 only emulates bf16), compile on" in reasons[-1]
    with pytest.raises(ConfigError, match="precision: got bf16, which Tesla T4 only emulates; fix: precision=fp32"):
        resolve_auto(Config(precision="bf16"), t4, 1000)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert resolve_auto(Config(), t4, 1000)[0].precision == "bf16"


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
