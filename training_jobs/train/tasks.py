"""What is learnt, behind one interface: the model, the batch of a step, its loss, and the figures of a validation.

A third task is one more class here with the same methods, and a row in TASKS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .classify import figures
from .config import Config
from .data import Data, Images, Windows
from .model import IGNORED, Gpt
from .sampling import share
from .speed import Work, conv_work, gpt_work
from .vision import ResNet

Batch = tuple[Tensor, Tensor]  # what goes in, what should come out; IGNORED where a row only fills up
Reduce = Callable[[Tensor], Tensor]  # the sum over the ranks


class Task(Protocol):
    """What the loop asks of a task. All ranks get batches of one shape, whatever their number is."""

    unit: str  # what is counted: tokens or images
    counted: int  # targets of one step that count, over all ranks

    def model(self) -> nn.Module:
        """A model that maps inputs and targets to the sum of their losses."""

    def work(self) -> Work:
        """FLOPs per counted target."""

    def batch(self, step: int, rank: int, world: int) -> Batch:
        """A rank's part of a step's batch: a pure function of seed, step, rank and world."""

    def validate(self, net: nn.Module, rank: int, world: int, reduce: Reduce) -> dict[str, Any]:
        """The figures over the whole validation split; `val_loss` is always among them."""


class Language:
    """The next token."""

    unit = "tokens"

    def __init__(self, config: Config, data: Data) -> None:
        self._config, self.data = config, data
        self.counted = config.batch * config.context
        self._train = Windows(data.train, config.context, config.seed) if data.train else None

    def model(self) -> nn.Module:  # noqa: D102
        return Gpt(self._config)

    def work(self) -> Work:  # noqa: D102
        return gpt_work(self._config)

    def batch(self, step: int, rank: int, world: int) -> Batch:  # noqa: D102
        config = self._config
        first, last = share(config.batch, rank, world)
        if self._train:
            rows = self._train.batch(step, config.batch, first, last)
        else:
            random = np.random.Generator(np.random.Philox(key=[config.seed, step]))
            rows = random.integers(0, config.vocab, (config.batch, config.context + 1))[first:last]
        return _filled(torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:]), -(-config.batch // world))

    def validate(self, net: nn.Module, rank: int, world: int, reduce: Reduce) -> dict[str, Any]:  # noqa: D102
        if self.data.validation is None:
            return {"val_loss": None}
        rows = torch.from_numpy(Windows(self.data.validation, self._config.context, 0).all(rank, world))
        total = torch.zeros(2, dtype=torch.float64)
        for tokens, targets in _pieces((rows[:, :-1], rows[:, 1:]), self._config, world, reduce):
            total += torch.tensor([net(*_there(net, tokens, targets)).item(), int((targets != IGNORED).sum())], dtype=torch.float64)
        summed, count = reduce(total).tolist()
        loss = summed / count
        bits = loss / math.log(2) / self.data.index.bytes_per_token
        return {"val_loss": loss, "perplexity": math.exp(min(loss, 700)), "bits_per_byte": bits}


class Classification:
    """The class of an image."""

    unit = "images"

    def __init__(self, config: Config, data: Data) -> None:
        self._config, self.data = config, data
        self.counted = config.batch
        self._train = Images(data.train, config.seed, config.shift) if data.train else None

    def model(self) -> nn.Module:  # noqa: D102
        index = self.data.index
        return ResNet(self._config, index.shape[2], index.mean, index.std)

    def work(self) -> Work:  # noqa: D102
        return conv_work(self.model(), (self.data.index.shape[0], self.data.index.shape[1]))

    def batch(self, step: int, rank: int, world: int) -> Batch:  # noqa: D102
        config = self._config
        first, last = share(config.batch, rank, world)
        if self._train:
            images, labels = self._train.batch(step, config.batch, first, last)
        else:
            random = np.random.Generator(np.random.Philox(key=[config.seed, step]))
            images = random.integers(0, 256, (config.batch, *self.data.index.shape), np.uint8)[first:last]
            labels = random.integers(0, config.vocab, config.batch)[first:last]
        return _filled(torch.from_numpy(images), torch.from_numpy(labels), -(-config.batch // world))

    def validate(self, net: nn.Module, rank: int, world: int, reduce: Reduce) -> dict[str, Any]:  # noqa: D102
        if self.data.validation is None:
            return {"val_loss": None}
        images, labels = Images(self.data.validation, 0, 0).all(rank, world)
        classes = len(self.data.index.classes) or self._config.vocab
        counts = torch.zeros(classes * classes + 1, dtype=torch.float64)  # K x K, then the loss: one reduction
        scorer: Any = getattr(net, "module", net)
        for batch, targets in _pieces((torch.from_numpy(images), torch.from_numpy(labels)), self._config, world, reduce):
            scores = scorer.logits(*_there(net, batch)).cpu()[:, :classes]
            real = targets != IGNORED
            places = targets[real] * classes + scores[real].argmax(1)
            counts[:-1] += torch.bincount(places, minlength=classes * classes)
            counts[-1] += nn.functional.cross_entropy(scores[real], targets[real], reduction="sum").double() if real.any() else 0.0
        summed = reduce(counts)
        matrix = summed[:-1].view(classes, classes).long().numpy()
        return {"val_loss": float(summed[-1]) / max(int(matrix.sum()), 1), **figures(matrix), "confusion": matrix.tolist()}


TASKS: dict[str, Callable[[Config, Data], Task]] = {"gpt": Language, "resnet": Classification}


def _filled(inputs: Tensor, targets: Tensor, rows: int) -> Batch:
    """The same with rows that do not count up to the given number: every rank has one shape."""
    missing = rows - len(inputs)
    if missing <= 0:
        return inputs, targets
    more = torch.zeros(missing, *inputs.shape[1:], dtype=inputs.dtype)
    return torch.cat([inputs, more]), torch.cat([targets, torch.full((missing, *targets.shape[1:]), IGNORED)])


def _pieces(batch: Batch, config: Config, world: int, reduce: Reduce) -> Iterator[Batch]:
    """A rank's rows in pieces of what it can hold, as many on every rank: sharded models need that."""
    size = config.micro or max(config.batch // world, 1)
    most = torch.zeros(world, dtype=torch.float64)
    most[torch.distributed.get_rank()] = len(batch[0])
    rows = int(reduce(most).max().item())
    inputs, targets = _filled(*batch, -(-rows // size) * size)
    yield from zip(torch.split(inputs, size), torch.split(targets, size), strict=True)


def _there(net: nn.Module, *tensors: Tensor) -> list[Tensor]:
    device = next(net.parameters()).device
    return [tensor.to(device) for tensor in tensors]
