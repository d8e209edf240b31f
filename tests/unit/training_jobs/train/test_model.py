"""The GPT: causal attention, chunked loss, activation recomputation, and weights from the seed."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gpuyard.training_jobs.train.config import Config
from gpuyard.training_jobs.train.model import IGNORED, Gpt, chunked_loss, chunked_loss_missing, initialise


def test_the_chunked_loss_equals_the_plain_loss() -> None:
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


def test_recomputation_changes_no_result_and_selective_repeats_no_matrix_product() -> None:
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


def test_attention_is_causal() -> None:
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
    assert loss == pytest.approx(math.log(256), rel=0.3)  # untrained: a uniform guess
    assert model(windows, torch.full((1, 8), IGNORED)).item() == 0.0


def test_the_initial_weights_depend_on_the_seed_alone() -> None:
    one, two = Gpt(Config(width=16)), Gpt(Config(width=16))
    initialise(one, 3)
    torch.rand(1)
    initialise(two, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not one.state_dict()["blocks.0.out.weight"].any()
    assert one.embedding.weight.shape[0] == 256
    assert Gpt(Config(width=16, vocab=50257)).embedding.weight.shape[0] == 50304
