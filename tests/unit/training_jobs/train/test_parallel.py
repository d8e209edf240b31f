"""The parallel strategy chosen for a model's size, and the precision chosen for a device."""

from __future__ import annotations

import datetime
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from gpuyard.training_jobs.train.config import Config, ConfigError
from gpuyard.training_jobs.train.model import Gpt, initialise
from gpuyard.training_jobs.train.parallel import ParallelModel, allow_tf32, choose_strategy, resolve_auto
from gpuyard.training_jobs.train.process_group import RankInfo


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


@pytest.fixture
def four_ranks() -> Iterator[RankInfo]:
    """Join four ranks on two nodes whose collectives do nothing, as rank 0."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    yield RankInfo(0, 4, 2, torch.device("cpu"))
    dist.destroy_process_group()


def _sharded(ranks: RankInfo, strategy: str) -> ParallelModel:
    config = Config(width=16, layers=1, context=8, strategy=strategy, precision="bf16", compile="off")
    with torch.device("meta"):
        model = Gpt(config)
    net = ParallelModel(model, config, ranks)
    initialise(net.model, 0)
    return net


@pytest.mark.parametrize(("strategy", "sizes"), [("fsdp", [4, 4]), ("hsdp", [4, 2, 2])])
def test_the_timeout_of_every_group_of_the_mesh_is_set(
    four_ranks: RankInfo, monkeypatch: pytest.MonkeyPatch, strategy: str, sizes: list[int]
) -> None:
    net, calls = _sharded(four_ranks, strategy), list[Any]()
    monkeypatch.setattr(dist, "barrier", lambda: calls.append("barrier"))
    monkeypatch.setattr(dist.distributed_c10d, "set_timeout", lambda timeout, group: calls.append((timeout, group.size())), raising=False)
    net.shorten_timeouts()
    net.lengthen_timeouts()
    wanted = [[(datetime.timedelta(seconds=seconds), size) for size in sizes] for seconds in (100, 3600)]
    assert calls == ["barrier", *wanted[0], *wanted[1]]


def test_fsdp_leaves_the_angles_of_rotary_positions_in_fp32(four_ranks: RankInfo) -> None:
    net, found = _sharded(four_ranks, "fsdp"), list[torch.dtype]()
    net.model.get_submodule("blocks.0").register_forward_pre_hook(lambda _, given: found.extend(each.dtype for each in given))
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    with net.forward_context(), torch.no_grad():
        net.wrapped(tokens, tokens)
    assert found == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize("strategy", ["fsdp", "hsdp"])
def test_no_rank_holds_the_whole_gradients_between_the_parts_of_a_batch(four_ranks: RankInfo, strategy: str) -> None:
    before = _parameters_with_whole_gradients()  # of other tests in this process
    net = _sharded(four_ranks, strategy)
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    with net.gradient_sync(False), net.forward_context():
        net.wrapped(tokens, tokens).backward()
    if strategy == "fsdp":
        assert all(isinstance(parameter.grad, DTensor) for parameter in net.model.parameters())
    known = {id(parameter) for parameter in before}
    assert not [parameter for parameter in _parameters_with_whole_gradients() if id(parameter) not in known]


def _parameters_with_whole_gradients() -> list[torch.nn.Parameter]:
    found = [each for each in gc.get_objects() if type(each) is torch.nn.Parameter and each.grad is not None]
    return [parameter for parameter in found if not isinstance(parameter.grad, DTensor)]


def test_the_loss_is_compiled_with_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = list[str]()

    def record(function: Any, **_: Any) -> Any:
        compiled.append(function.__qualname__)
        return function

    monkeypatch.setattr(torch, "compile", record)
    config = Config(width=16, layers=2, context=8, strategy="single", precision="fp32", compile="on", loss="chunked")
    with torch.device("meta"):
        model = Gpt(config)
    ParallelModel(model, config, RankInfo(0, 1, 1, torch.device("cpu")))
    assert compiled == ["_Block.forward", "_Block.forward", "loss_and_slope"]


def test_products_that_stay_in_fp32_under_bf16_may_use_tf32() -> None:
    allow_tf32(Config(precision="bf16"))
    assert torch.get_float32_matmul_precision() == "high"
    allow_tf32(Config(precision="fp32"))
    assert torch.get_float32_matmul_precision() == "highest"


def test_ddp_prints_no_warning_and_broadcasts_no_buffer(four_ranks: RankInfo) -> None:
    """Warnings are errors in tests; each rank would print them among its first lines."""
    config = Config(width=16, layers=1, context=8, strategy="ddp", precision="fp32", compile="off")
    with torch.device("meta"):
        model = Gpt(config)
    net = ParallelModel(model, config, four_ranks)
    initialise(net.model, 0)
    net.wrap_ddp()
    assert isinstance(net.wrapped, DistributedDataParallel)
    assert not net.wrapped.modules_buffers
