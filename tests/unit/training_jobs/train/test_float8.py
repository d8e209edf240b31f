"""float8: which matrices are converted, and where it is refused. torchao and a GPU are stand-ins."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gpuyard.training_jobs.train.config import Config, ConfigError
from gpuyard.training_jobs.train.float8 import check_float8, convert_to_float8
from gpuyard.training_jobs.train.llama import Llama
from gpuyard.training_jobs.train.model import Gpt

CONFIG = Config(width=32, layers=1, context=8, float8="rowwise", precision="bf16", compile="on")


@pytest.mark.parametrize("kind", [Gpt, Llama])
def test_the_blocks_matrices_are_converted_and_the_head_is_not(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    converted, recipes = list[str](), list[str]()

    def convert(model: torch.nn.Module, config: str, module_filter_fn: Any) -> None:
        recipes.append(config)
        converted.extend(name for name, module in model.named_modules() if module_filter_fn(module, name))

    stand_in = SimpleNamespace(Float8LinearConfig=SimpleNamespace(from_recipe_name=str), convert_to_float8_training=convert)
    monkeypatch.setitem(sys.modules, "torchao", SimpleNamespace(float8=stand_in))
    monkeypatch.setitem(sys.modules, "torchao.float8", stand_in)
    convert_to_float8(kind(CONFIG), CONFIG)
    parts = ("qkv", "out", "up", "down") if kind is Gpt else ("q", "k", "v", "o", "gate", "up", "down")
    assert (recipes, converted) == (["rowwise"], [f"blocks.0.{part}" for part in parts])


def test_float8_is_refused_where_it_cannot_work_or_only_costs_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    capability = [(8, 0)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability[0])
    gpu = torch.device("cuda", 0)
    with pytest.raises(ConfigError, match="float8: got rowwise, which needs a GPU with float8 units"):
        check_float8(CONFIG, 2 * 10**9, gpu)
    capability[0] = (9, 0)
    check_float8(CONFIG, 2 * 10**9, gpu)
    with pytest.raises(ConfigError, match="which needs compile=on and precision=bf16"):
        check_float8(replace(CONFIG, compile="off"), 2 * 10**9, gpu)
    with pytest.raises(ConfigError, match=r"got rowwise for 0.35B parameters, allowed: 1B or more; fix: float8=off"):
        check_float8(CONFIG, 350 * 10**6, gpu)
    with pytest.raises(ConfigError, match="which needs a GPU"):
        check_float8(CONFIG, 2 * 10**9, torch.device("cpu"))
    check_float8(replace(CONFIG, float8="off"), 1, torch.device("cpu"))
