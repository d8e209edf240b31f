"""The GPT: causal attention, chunked loss, activation recomputation, and weights from the seed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from gpuyard.training_jobs.train.chunked_loss import IGNORED, _chunk_rows, chunked_loss
from gpuyard.training_jobs.train.config import Config, parse_config
from gpuyard.training_jobs.train.data import load
from gpuyard.training_jobs.train.model import Gpt, initialise, padded_vocab
from gpuyard.training_jobs.train.parallel import _materialise
from gpuyard.training_jobs.train.presets import PRESETS
from gpuyard.training_jobs.train.tasks import TASKS


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_chunked_loss_equals_the_plain_loss(monkeypatch: pytest.MonkeyPatch, smoothing: float) -> None:
    monkeypatch.setattr("gpuyard.training_jobs.train.chunked_loss._CHUNK_LOGITS", 256 * 7)  # 7 rows at a time
    torch.manual_seed(0)
    rows, weight = torch.randn(40, 16, requires_grad=True), torch.randn(256, 16, requires_grad=True)
    targets = torch.randint(0, 256, (40,))
    targets[3:9] = IGNORED
    plain = torch.nn.functional.cross_entropy(rows @ weight.T, targets, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing)
    wanted = torch.autograd.grad(plain, [rows, weight])
    loss = chunked_loss(rows, weight, targets, smoothing)
    for got, want in zip((loss, *torch.autograd.grad(loss, [rows, weight])), (plain, *wanted), strict=True):
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_the_chunks_of_the_loss_have_one_shape_where_possible() -> None:
    """Each other shape would be compiled again."""
    assert [_chunk_rows(*rows) for rows in ((32768, 5336), (7, 100), (13, 5), (12, 5))] == [4096, 7, 5, 4]


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the types and shapes of what each matrix product and attention multiplies."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[str, set[torch.dtype], list[torch.Size]]] = []

    def record(self, name: str, *operands: torch.Tensor) -> None:
        self.found.append((name, {operand.dtype for operand in operands}, [operand.shape for operand in operands]))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            self.record(name, *[arg for arg in args if isinstance(arg, torch.Tensor)])
        return func(*args, **(kwargs or {}))

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **_: Any) -> torch.Tensor:
        """Stand in for torch's attention, which takes its fused kernels only where a GPU is."""
        self.record("attention", q, k, v)
        return q * k * v


def _backward(loss: torch.Tensor) -> None:
    """Call the functions of the backward pass one by one; autograd's engine wants the devices to exist."""
    order: dict[Any, None] = {}

    def visit(node: Any) -> None:
        if node not in order:
            for following, _ in node.next_functions:
                if following is not None:
                    visit(following)
            order[node] = None

    visit(loss.grad_fn)
    gradients: dict[tuple[Any, int], torch.Tensor] = {(loss.grad_fn, 0): torch.ones_like(loss)}
    for node in reversed(order):
        if "AccumulateGrad" in node.name():
            continue
        found = getattr(node, "apply", node)(*[gradients.get((node, place)) for place in range(len(node._input_metadata))])
        for gradient, edge in zip(found if isinstance(found, tuple) else (found,), node.next_functions, strict=False):
            if gradient is not None and edge[0] is not None:
                gradients[edge] = gradients[edge] + gradient if edge in gradients else gradient


@contextlib.contextmanager
def _autocast() -> Iterator[None]:
    """Enable CUDA's autocast; torch.autocast refuses to where no GPU is."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    yield
    torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("loss", ["chunked", "plain"])
@pytest.mark.parametrize("preset", ["gpt_tiny", "gpt_124m", "gpt_350m", "gpt_1b3", "gpt_7b"])
def test_on_a_gpu_every_product_is_in_bf16_and_the_head_multiplies_three_times(
    monkeypatch: pytest.MonkeyPatch, preset: str, loss: str
) -> None:
    """CUDA's autocast differs from the CPU's, so the tensors are on a fake CUDA device."""
    config = parse_config([f"preset={preset}", "layers=2", f"loss={loss}", "recompute=none"])
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        model = Gpt(config)
        model.cos, model.sin = model.cos.cuda(), model.sin.cuda()  # built on the CPU
        tokens = torch.zeros(1, config.context, dtype=torch.int64)
        with _Products() as products:
            monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", products.attention)
            with _autocast():
                total = model(tokens, tokens)
            _backward(total)
    assert total.dtype == torch.float32
    assert [(name, dtypes) for name, dtypes, _ in products.found if dtypes != {torch.bfloat16}] == []
    head = [shapes for _, _, shapes in products.found if any(padded_vocab(config.vocab) in shape for shape in shapes)]
    assert len(head) == 3
    assert len(products.found) == 3 + 2 * (1 + 4 * 3)  # per block one attention and 4 matrices, each 3 times


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


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_starts_as_a_uniform_guess(preset: str) -> None:
    settings = ["layers=1", "recompute=none"] if preset != "resnet_digits" else []  # every further block adds zero at first
    settings += ["vocab=8192"] if preset in ("gpt_1b3", "gpt_7b") else []  # the scale of the output matrix depends on the width alone
    config = parse_config([f"preset={preset}", *settings, "context=16", "batch=4", "data=synthetic"])
    task = TASKS[config.task](config, load(config))
    with torch.device("meta"):
        model = task.model()
    _materialise(model, torch.device("cpu"))
    initialise(model, 0)
    inputs, targets = task.batch(0, 0, 1)
    with torch.no_grad():
        loss = model(inputs, targets).item() / targets.numel()
    assert loss == pytest.approx(math.log(config.vocab), rel=0.05)
    assert loss > math.log(config.vocab) * 0.99


def test_gpt_tiny_starts_below_a_uniform_guess_only_where_bytes_repeat() -> None:
    config = parse_config(["corpus_bytes=100000", "val_bytes=4096"])
    task = TASKS["gpt"](config, load(config))
    model = task.model()
    initialise(model, 0)
    inputs, targets = task.batch(0, 0, 1)
    with torch.no_grad():
        others = targets.masked_fill(targets == inputs, IGNORED)
        loss = model(inputs, others).item() / (others != IGNORED).sum().item()
    assert loss == pytest.approx(math.log(256), rel=0.05)
