"""The tasks: each has a model, the batch of a step, its loss, and validation figures.

To add a task, write a class with the same methods and add a row to TASKS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .chunked_loss import IGNORED
from .classify import classification_metrics
from .config import Config, ConfigError
from .data import Dataset, ImageBatches, TokenWindows
from .llama import Llama
from .model import Gpt
from .sampling import rank_slice
from .speed import FlopsPerToken, conv_flops, gpt_flops
from .vision import ResNet

Batch = tuple[Tensor, Tensor]  # inputs and targets; targets of padding rows are IGNORED
Figures = dict[str, Any]  # JSON values by name: numbers, null, and a classifier's confusion matrix
Reduce = Callable[[Tensor], Tensor]  # sums over the ranks
Vote = Callable[[], None]  # called by all ranks between two parts of a validation; raises when a stop is requested


class Task(Protocol):
    """The interface of a task. All ranks get batches of the same shape."""

    unit: str  # tokens or images
    targets_per_step: int  # tokens or images of one step, over all ranks

    def model(self) -> nn.Module:
        """Build a model that maps inputs and targets to the sum of their losses."""

    def flops(self) -> FlopsPerToken:
        """Return the FLOPs of a training step per token or image."""

    def batch(self, step: int, rank: int, world: int) -> Batch:
        """Return a rank's part of a step's batch. It depends only on seed, step, rank and world."""

    def validate(self, net: nn.Module, rank: int, world: int, reduce: Reduce, vote: Vote) -> Figures:
        """Validate on at most eval_tokens of the validation split. Returns the figures, `val_loss` among them."""


class LanguageTask:
    """Predicts the next token."""

    unit = "tokens"

    def __init__(self, config: Config, data: Dataset) -> None:
        self._config, self.data = config, data
        self.targets_per_step = config.batch * config.context
        self._train = TokenWindows(data.train, config.context, config.seed) if data.train else None

    def model(self) -> nn.Module:  # noqa: D102
        model = Llama(self._config) if self._config.model == "llama" else Gpt(self._config)
        if self._config.document_mask == "on":
            if self.data.index.end_token < 0:
                fix = "fix: make the data with `python -m gpuyard.training_jobs.train.prepare`"
                raise ConfigError(f"document_mask: got on, but {self._config.data} does not name the token that ends a document; {fix}")
            model.end_token = self.data.index.end_token
        return model

    def flops(self) -> FlopsPerToken:  # noqa: D102
        return gpt_flops(self._config)

    def batch(self, step: int, rank: int, world: int) -> Batch:  # noqa: D102
        config = self._config
        first, last = rank_slice(config.batch, rank, world)
        if self._train:
            rows = self._train.batch(step, config.batch, first, last)
        else:
            random = np.random.Generator(np.random.Philox(key=[config.seed, step]))
            rows = random.integers(0, config.vocab, (config.batch, config.context + 1))[first:last]
        return _pad_rows(torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:]), -(-config.batch // world))

    def validate(self, net: nn.Module, rank: int, world: int, reduce: Reduce, vote: Vote) -> Figures:  # noqa: D102
        if self.data.validation is None:
            return {"val_loss": None}
        windows = TokenWindows(self.data.validation, self._config.context, 0)
        count = _bounded(windows.count, self._config.eval_tokens // self._config.context)
        total = torch.zeros(2, dtype=torch.float64)
        for first, last, size in _parts(count, self._config, rank, world):
            vote()
            rows = torch.from_numpy(windows.part(first, last))
            tokens, targets = _pad_rows(rows[:, :-1], rows[:, 1:], size)
            total += torch.tensor([net(*_to_device(net, tokens, targets)).item(), int((targets != IGNORED).sum())], dtype=torch.float64)
        summed, counted = reduce(total).tolist()
        loss = summed / counted
        bits = loss / math.log(2) / self.data.index.bytes_per_token
        return {"val_loss": loss, "perplexity": math.exp(min(loss, 700)), "bits_per_byte": bits}


class ClassificationTask:
    """Predicts the class of an image."""

    unit = "images"

    def __init__(self, config: Config, data: Dataset) -> None:
        self._config, self.data = config, data
        self.targets_per_step = config.batch
        self._train = ImageBatches(data.train, config.seed, config.shift) if data.train else None

    def model(self) -> nn.Module:  # noqa: D102
        index = self.data.index
        return ResNet(self._config, index.shape[2], index.mean, index.std)

    def flops(self) -> FlopsPerToken:  # noqa: D102
        return conv_flops(self.model(), (self.data.index.shape[0], self.data.index.shape[1]))

    def batch(self, step: int, rank: int, world: int) -> Batch:  # noqa: D102
        config = self._config
        first, last = rank_slice(config.batch, rank, world)
        if self._train:
            images, labels = self._train.batch(step, config.batch, first, last)
        else:
            random = np.random.Generator(np.random.Philox(key=[config.seed, step]))
            images = random.integers(0, 256, (config.batch, *self.data.index.shape), np.uint8)[first:last]
            labels = random.integers(0, config.vocab, config.batch)[first:last]
        return _pad_rows(torch.from_numpy(images), torch.from_numpy(labels), -(-config.batch // world))

    def validate(self, net: nn.Module, rank: int, world: int, reduce: Reduce, vote: Vote) -> Figures:  # noqa: D102
        if self.data.validation is None:
            return {"val_loss": None}
        images = ImageBatches(self.data.validation, 0, 0)
        count = _bounded(images.count, self._config.eval_tokens)
        classes = len(self.data.index.classes) or self._config.vocab
        counts = torch.zeros(classes * classes + 1, dtype=torch.float64)  # K x K counts, then the loss, in one all-reduce
        scorer: Any = getattr(net, "module", net)
        for first, last, size in _parts(count, self._config, rank, world):
            vote()
            pixels, labels = images.part(first, last)
            batch, targets = _pad_rows(torch.from_numpy(pixels), torch.from_numpy(labels), size)
            scores = scorer.logits(*_to_device(net, batch)).cpu()[:, :classes]
            real = targets != IGNORED
            places = targets[real] * classes + scores[real].argmax(1)
            counts[:-1] += torch.bincount(places, minlength=classes * classes)
            counts[-1] += nn.functional.cross_entropy(scores[real], targets[real], reduction="sum").double() if real.any() else 0.0
        summed = reduce(counts)
        matrix = summed[:-1].view(classes, classes).long().numpy()
        return {"val_loss": float(summed[-1]) / max(int(matrix.sum()), 1), **classification_metrics(matrix), "confusion": matrix.tolist()}


TASKS: dict[str, Callable[[Config, Dataset], Task]] = {"gpt": LanguageTask, "resnet": ClassificationTask}


def _pad_rows(inputs: Tensor, targets: Tensor, rows: int) -> Batch:
    """Pad the batch with ignored rows to `rows`, because every rank needs the same shape."""
    missing = rows - len(inputs)
    if missing <= 0:
        return inputs, targets
    more = torch.zeros(missing, *inputs.shape[1:], dtype=inputs.dtype)
    return torch.cat([inputs, more]), torch.cat([targets, torch.full((missing, *targets.shape[1:]), IGNORED)])


def _bounded(count: int, most: int) -> int:
    return min(count, most) if most > 0 else count


def _parts(count: int, config: Config, rank: int, world: int) -> Iterator[tuple[int, int, int]]:
    """Split a rank's records into parts that fit into memory.

    Yields for each part: index of its first record, index after its last record, number of rows after padding. With the padding, all
    ranks have the same number of parts of the same sizes. Sharded models need this.
    """
    size = config.micro or max(config.batch // world, 1)
    begin, end = rank_slice(count, rank, world)
    for done in range(0, -(-count // world), size):
        yield min(begin + done, end), min(begin + done + size, end), size


def _to_device(net: nn.Module, *tensors: Tensor) -> list[Tensor]:
    device = next(net.parameters()).device
    return [tensor.to(device) for tensor in tensors]
