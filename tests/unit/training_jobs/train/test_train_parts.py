"""The trainer's parts: settings, corpus, model, and checkpoints that survive what may happen to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gpuyard.training_jobs.train import corpus
from gpuyard.training_jobs.train.config import Config, ConfigError, differences, digest, parse
from gpuyard.training_jobs.train.model import IGNORED, Gpt, chunked_loss, chunked_loss_missing, initialise
from gpuyard.training_jobs.train.parallel import choose
from gpuyard.training_jobs.train.presets import PRESETS
from gpuyard.training_jobs.train.speed import conv_work, gpt_work, shares
from gpuyard.training_jobs.train.train_state import schedule
from gpuyard.training_jobs.train.vision import ResNet


def test_settings_from_words() -> None:
    assert parse(["steps=20", "lr=1e-3", "out=file:///x"]) == Config(steps=20, lr=1e-3, out="file:///x")
    assert parse(["heads=12", "preset=gpt_124m"]).width == 768


def test_every_preset_is_one() -> None:
    for name in PRESETS:
        config = parse([f"preset={name}"])
        assert config.preset == name
        assert config.task != "gpt" or name == "gpt_tiny" or config.width // config.heads == 128


def test_every_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(["stpes=20", "lr=fast", "--width", "heads=5", "schedule=linear", "attention=cudnn,best", "preset=gpt_tny", "profile=3"])
    text = str(refused.value)
    for says in (
        *("did you mean steps=?", "lr: got 'fast', wants a number", "'--width'", "multiple of 2 x heads", "allowed: cosine, wsd"),
        *("attention: got 'best'", "did you mean gpt_tiny?"),
    ):
        assert says in text
    with pytest.raises(ConfigError, match="layers: got 0, must be at least 1"):
        parse(["layers=0"])


def test_what_a_resumed_run_may_change() -> None:
    one, faster, other = Config(), Config(steps=9, micro=2, strategy="fsdp", out="file:///y"), Config(lr=1.0, width=64)
    assert digest(one) == digest(faster)
    assert digest(one) != digest(other)
    assert differences(one, {**one.__dict__, "lr": 1.0, "steps": 7}) == ["lr: 1.0 there, 0.006 here"]


def test_the_learning_rate() -> None:
    cosine, wsd = Config(steps=100, warmup=10, lr=1.0), Config(steps=100, warmup=10, lr=1.0, schedule="wsd")
    assert schedule(cosine, 0) == schedule(wsd, 0) == pytest.approx(0.1)
    assert [schedule(cosine, step) for step in (10, 100)] == pytest.approx([1.0, 0.1])
    assert [schedule(wsd, step) for step in (80, 91, 100)] == pytest.approx([1.0, 0.5, 0.0])


def test_the_strategy_follows_the_size() -> None:
    chosen = [
        choose("auto", parameters, memory, world, 8)[0]
        for parameters, memory, world in (
            *((10**6, None, 4), (10**9, 80 * 2**30, 1), (10**9, 80 * 2**30, 16)),
            *((13 * 10**9, 80 * 2**30, 16), (70 * 10**9, 80 * 2**30, 64)),
        )
    ]
    assert chosen == ["ddp", "single", "ddp", "hsdp", "fsdp"]
    with pytest.raises(ConfigError, match="strategy: got single, but there are 2 ranks"):
        choose("single", 1, None, 2, 2)


def test_work_is_counted_as_palm_does() -> None:
    work = gpt_work(parse(["preset=gpt_1b3"]))
    assert work.palm == 6 * (12 * 24 * 2048**2 + 50304 * 2048) + 12 * 24 * 2048 * 2048
    assert work.causal == work.palm - 6 * 24 * 2048 * 2048 == work.hardware
    assert gpt_work(Config(recompute="block")).hardware > gpt_work(Config()).causal
    assert shares(work, 66_000.0, 1, 989e12)["mfu"] == pytest.approx(0.606, abs=0.02)
    assert shares(work, 1.0, 1, None) == {"mfu": None, "mfu_causal": None, "hfu": None}
    net = ResNet(Config(width=8, layers=1, vocab=10), 1, [0.0], [1.0])
    assert conv_work(net, (8, 8)).palm == 6 * (sum(_uses(net)) + 32 * 10)


def _uses(net: ResNet) -> list[int]:
    """The multiplications of each convolution, by hand: stages of 8x8, 4x4 and 2x2."""
    stem, first = 9 * 8 * 64, 2 * 9 * 8 * 8 * 64
    second, third = (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16) * 16, (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 4
    return [stem, first, second, third]


def test_the_chunked_loss_is_the_plain_one() -> None:
    if missing := chunked_loss_missing():
        pytest.skip(missing)
    torch.manual_seed(0)
    rows, weight = torch.randn(40, 16, requires_grad=True), torch.randn(256, 16, requires_grad=True)
    targets = torch.randint(0, 256, (40,))
    targets[3:9] = IGNORED
    plain = torch.nn.functional.cross_entropy(rows @ weight.T, targets, ignore_index=IGNORED, reduction="sum")
    wanted = torch.autograd.grad(plain, [rows, weight])
    loss = chunked_loss(rows, weight, targets)
    for got, want in zip((loss, *torch.autograd.grad(loss, [rows, weight])), (plain, *wanted), strict=True):
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_what_is_recomputed_is_the_same_and_selectively_no_product_is_computed_twice() -> None:
    tokens = torch.randint(0, 256, (2, 17))
    found = {}
    for recompute in ("none", "selective", "block"):
        model = Gpt(Config(width=32, layers=2, context=16, dropout=0.2, recompute=recompute))
        initialise(model, 0)
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(0)
        with FlopCounterMode(display=False) as counter:
            loss = model(tokens[:, :-1], tokens[:, 1:])
            loss.backward()
        gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
        found[recompute] = (
            loss.detach(),
            torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]),
            counter.get_total_flops(),
        )
    loss, gradients, work = found["none"]
    for other, theirs, _ in found.values():
        assert torch.equal(other, loss)
        assert torch.equal(theirs, gradients)
    assert found["selective"][2] == work < found["block"][2]


def test_the_corpus_is_the_same_every_time_and_its_sides_are_apart() -> None:
    one, two = (corpus.load(300_000, 4096) for _ in range(2))
    assert np.array_equal(one.train, two.train)
    assert np.array_equal(one.validation, two.validation)
    assert (len(one.validation), len(one.train)) == (4096, 300_000)
    assert one.validation[:200].tobytes() not in one.train.tobytes()
    with pytest.raises(ConfigError, match="val_bytes: got 1000000000, but all the text below"):
        corpus.load(1, 10**9)


def test_the_entropy_is_what_it_says() -> None:
    assert corpus.entropy(np.frombuffer(b"abcabcabcabc", np.uint8), 2) == 0.0
    coin = np.random.default_rng(0).integers(0, 2, 100_000).astype(np.uint8)
    assert math.isclose(corpus.entropy(coin, 3), math.log(2), rel_tol=1e-3)


def test_the_model_sees_the_past_only() -> None:
    model = Gpt(Config(width=16, layers=2, context=8))
    initialise(model, 0)
    for name, parameter in model.named_parameters():
        if name.endswith("out.weight"):
            torch.nn.init.normal_(parameter)
    windows = torch.randint(0, 256, (1, 8))
    changed = windows.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 256
    one, two = model.logits(windows)[0], model.logits(changed)[0]
    assert torch.equal(one[:5], two[:5])
    assert not torch.equal(one[5:], two[5:])
    loss = model(windows, torch.full((1, 8), 7)).item() / 8
    assert loss == pytest.approx(math.log(256), rel=0.3)  # it knows nothing yet
    assert model(windows, torch.full((1, 8), IGNORED)).item() == 0.0


def test_the_weights_follow_from_the_seed_alone() -> None:
    one, two = Gpt(Config(width=16)), Gpt(Config(width=16))
    initialise(one, 3)
    torch.rand(1)
    initialise(two, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not one.state_dict()["blocks.0.out.weight"].any()
    assert one.embedding.weight.shape[0] == 256
    assert Gpt(Config(width=16, vocab=50257)).embedding.weight.shape[0] == 50304
