"""Measures other training steps of the same model in the same run: `python -m benchmarks.train.baselines '<JSON of plan.Candidate>'`.

plain: the simplest step in PyTorch. torchtitan: a step with torchtitan's choices for one GPU, not its code: blocks and
loss compiled, activations in bf16, the logits in fp32, cuDNN's attention first, a fused AdamW, no garbage collection, no host that waits
for the GPU (github.com/pytorch/torchtitan 00a388d: components/loss.py, distributed/compile.py, tools/utils.py, 2026). The last line of the
output is JSON. On a CPU nothing is compiled.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpuyard.training_jobs.train.config import Config, parse_config
from gpuyard.training_jobs.train.model import Gpt, initialise
from gpuyard.training_jobs.train.speed import gpt_flops, peak_flops, utilisation

_WINDOW = 4
_ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True)
class Bench:
    """The model and the device that a step uses."""

    config: Config
    model: Gpt
    device: torch.device

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return random tokens and, for each, the next token."""
        rows = torch.randint(0, self.config.vocab, (self.config.batch, self.config.context + 1), device=self.device)
        return rows[:, :-1], rows[:, 1:]

    def logits(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the logits, with activations of this type between the blocks."""
        x = self.model.embedding(tokens).to(dtype)
        for block in self.model.blocks:
            x = block(x, self.model.cos, self.model.sin)
        return functional.linear(self.model.norm(x), self.model.head_weight)

    def update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """Compute the gradients, clip them and update the weights."""
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def plain(bench: Bench) -> Callable[[], None]:
    """Return the simplest step: eager, under autocast, with the loss read after each step."""
    optimizer = torch.optim.AdamW(bench.model.parameters(), lr=1e-4)

    def step() -> None:
        tokens, targets = bench.batch()
        with torch.autocast(bench.device.type, torch.bfloat16):
            logits = bench.logits(tokens, torch.float32)
        loss = cross_entropy(logits, targets)
        bench.update(optimizer, loss)
        loss.item()

    return step


def torchtitan(bench: Bench) -> Callable[[], None]:
    """Return a step with torchtitan's choices for one GPU."""
    optimizer, criterion = torch.optim.AdamW(bench.model.parameters(), lr=1e-4, fused=True), cross_entropy
    gc.disable()
    if bench.device.type == "cuda":
        criterion = torch.compile(cross_entropy)
        for block in bench.model.blocks:
            block.compile()

    def step() -> None:
        tokens, targets = bench.batch()
        kernels = sdpa_kernel(_ATTENTION, set_priority=True) if bench.device.type == "cuda" else contextlib.nullcontext()
        with kernels, torch.autocast(bench.device.type, torch.bfloat16):
            logits = bench.logits(tokens, torch.bfloat16)
        bench.update(optimizer, criterion(logits, targets))

    return step


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in fp32."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


STEPS: dict[str, Callable[[Bench], Callable[[], None]]] = {"plain": plain, "torchtitan": torchtitan}


def main(argv: list[str]) -> int:
    """Measure and print the result."""
    candidate = json.loads(argv[0])
    words = {"preset": candidate["preset"], **candidate["words"], "batch": candidate["words"]["micro"], "data": "synthetic"}
    config = parse_config([f"{key}={value}" for key, value in words.items()])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(config.threads)
    with device:
        model = Gpt(config)
    initialise(model, 0)
    step = STEPS[candidate["step"]](Bench(config, model.to(device), device))
    print(json.dumps(_measure(step, candidate, config, device)), flush=True)
    return 0


def _measure(step: Callable[[], None], candidate: dict[str, Any], config: Config, device: torch.device) -> dict[str, float | None]:
    """Return the median of windows of four steps, and the memory. The host waits for the GPU only between the windows."""
    for _ in range(candidate["first"]):
        step()
    rates = []
    for _ in range((candidate["steps"] - candidate["first"]) // _WINDOW):
        _wait(device)
        began = time.monotonic()
        for _ in range(_WINDOW):
            step()
        _wait(device)
        rates.append(_WINDOW * config.batch * config.context / (time.monotonic() - began))
    rate = statistics.median(rates)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return {"tokens_per_s": rate, **utilisation(gpt_flops(config), rate, 1, peak_flops(device)), "memory_gib": memory}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
