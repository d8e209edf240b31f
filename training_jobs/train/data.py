"""Loads training data: the standard library's text, scikit-learn's digits, noise, or a folder of shards."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import corpus
from .config import Config, ConfigError
from .optional import require_optional
from .sampling import Ints, SampleOrder
from .shards import DataIndex, Records, Shards, read_index


class Split(Protocol):
    """The shards of a split, as arrays of records. Reading a shard may first download it."""

    @property
    def sizes(self) -> list[int]:
        """The number of records in each shard."""

    def __getitem__(self, number: int) -> Records: ...

    def prefetch(self, numbers: list[int]) -> None:
        """Start to download shards that will be needed soon."""


@dataclass(frozen=True)
class InMemorySplit:
    """A split whose shards are arrays in memory."""

    arrays: Sequence[Records]

    @property
    def sizes(self) -> list[int]:
        """The number of records in each shard."""
        return [len(array) for array in self.arrays]

    def __getitem__(self, number: int) -> Records:
        return self.arrays[number]

    def prefetch(self, numbers: list[int]) -> None:
        """Do nothing: all shards are in memory."""


@dataclass(frozen=True)
class Dataset:
    """The two splits and their index. Synthetic data has no splits."""

    index: DataIndex
    train: Split | None
    validation: Split | None
    url: str = ""
    text_entropies: dict[str, float] = field(default_factory=dict)  # of the training text's n-grams, nats per byte


def load(config: Config) -> Dataset:
    """Load the data of a config. Raises ConfigError if the data does not fit the config."""
    builtin = {"stdlib": _stdlib, "digits": _digits, "synthetic": _synthetic}.get(config.data)
    data = builtin(config) if builtin else _folder(config)
    kind = {"gpt": "tokens", "resnet": "images"}[config.task]
    if data.index.kind != kind:
        raise ConfigError(f"data: got {config.data}, which has {data.index.kind}; task={config.task} needs {kind}")
    if data.index.vocab > config.vocab:
        what = "tokens" if kind == "tokens" else "classes"
        raise ConfigError(f"vocab: got {config.vocab}, but {config.data} has {data.index.vocab} {what}; fix: vocab={data.index.vocab}")
    return data


class TokenWindows:
    """Token windows of a split: `context` + 1 tokens each, at an offset that changes with the epoch."""

    def __init__(self, split: Split, context: int, seed: int) -> None:
        self._split, self._context, self._seed = split, context, seed
        counts = [max((size - context) // context, 0) for size in split.sizes]
        if not sum(counts):
            raise ConfigError(f"context: got {context}, but every shard is shorter than two windows; lower context")
        self._order = SampleOrder(counts, seed)

    def batch(self, step: int, size: int, first: int, last: int) -> Ints:
        """Return the windows `first` to `last` - 1 of a step's batch of `size` windows."""
        samples = self._order.batch(step, size)[first:last]
        rows = np.empty((len(samples), self._context + 1), np.int64)
        for row, (epoch, shard, number) in enumerate(samples):
            phase = (epoch * 0x9E3779B1 + self._seed) % self._context
            start = number * self._context + phase
            rows[row] = self._split[shard][start : start + self._context + 1]
        if samples:
            order, _ = self._order.shards(samples[-1][0])
            following = list(order).index(samples[-1][1]) + 1
            self._split.prefetch([int(number) for number in order[following:]])
        return rows

    @property
    def count(self) -> int:
        """The number of non-overlapping windows in the split: the largest `last` of `part`."""
        return sum(self._counts())

    def part(self, first: int, last: int) -> Ints:
        """Return the windows `first` to `last` - 1 of the split, without overlap."""
        parts = [np.empty((0, self._context + 1), np.int64)]
        for shard, begin, end in _ranges(self._counts(), first, last):
            starts = np.arange(begin, end) * self._context
            parts.append(self._split[shard][starts[:, None] + np.arange(self._context + 1)].astype(np.int64))
        return np.concatenate(parts)

    def _counts(self) -> list[int]:
        return [max((size - 1) // self._context, 0) for size in self._split.sizes]


class ImageBatches:
    """Images and labels of a split. Each epoch has a new order."""

    def __init__(self, split: Split, seed: int, shift: int) -> None:
        self._split, self._seed, self._shift = split, seed, shift
        self._order = SampleOrder(split.sizes, seed)

    def batch(self, step: int, size: int, first: int, last: int) -> tuple[npt.NDArray[np.uint8], Ints]:
        """Return the images `first` to `last` - 1 of a step's batch, each randomly shifted, and their labels."""
        samples = self._order.batch(step, size)
        # Drawn for the whole batch, so that the shifts do not depend on the number of ranks.
        random = np.random.Generator(np.random.Philox(key=[self._seed, step]))
        moves = random.integers(0, 2 * self._shift + 1, (size, 2))[first:last]
        records = [self._split[shard][number] for _, shard, number in samples[first:last]]
        images = np.stack([_shifted(record["image"], move, self._shift) for record, move in zip(records, moves, strict=True)])
        return images, np.array([record["label"] for record in records], np.int64)

    @property
    def count(self) -> int:
        """The number of images in the split."""
        return sum(self._split.sizes)

    def part(self, first: int, last: int) -> tuple[npt.NDArray[np.uint8], Ints]:
        """Return the images `first` to `last` - 1 of the split, and their labels."""
        records = np.concatenate(
            [self._split[shard][begin:end] for shard, begin, end in _ranges(self._split.sizes, first, last)] or [self._split[0][:0]]
        )
        return records["image"], records["label"].astype(np.int64)


def _ranges(sizes: Sequence[int], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Find the shards that have the records `first` to `last` - 1. Yields (shard, begin, end), counted within the shard."""
    before = 0
    for shard, size in enumerate(sizes):
        begin, end = max(first - before, 0), min(last - before, size)
        if begin < end:
            yield shard, begin, end
        before += size


def _shifted(image: Records, move: Ints, most: int) -> Records:
    if not most:
        return image
    height, width, _ = image.shape
    wide = np.pad(image, ((most, most), (most, most), (0, 0)))
    return wide[move[0] : move[0] + height, move[1] : move[1] + width]


def assign_split(content: bytes, held_out: float) -> str:
    """Assign a document to train or val by its content alone. So it never changes its split, and copies get the same split."""
    return "val" if int.from_bytes(hashlib.sha256(content).digest()[:8]) < held_out * 2**64 else "train"


def _stdlib(config: Config) -> Dataset:
    text = corpus.load(config.corpus_bytes, config.val_bytes)
    index = DataIndex("tokens", "<u1", 256, {})
    entropies = {"bigram_entropy": corpus.entropy(text.train, 2), "trigram_entropy": corpus.entropy(text.train, 3)}
    return Dataset(index, InMemorySplit([text.train]), InMemorySplit([text.validation]), text_entropies=entropies)


def _digits(config: Config) -> Dataset:
    loaded: Any = require_optional("sklearn.datasets", "data=digits").load_digits()
    index = DataIndex("images", "|u1", 10, {}, shape=[8, 8, 1], classes=[str(digit) for digit in range(10)])
    records = np.zeros(len(loaded.target), index.record_dtype)
    records["label"], records["image"] = loaded.target, np.round(loaded.images * 15.9375).astype(np.uint8)[..., None]
    side = np.array([assign_split(record["image"].tobytes(), 0.2) for record in records])
    train = records[side == "train"]
    mean, std = [float(train["image"].mean())], [float(train["image"].std())]
    return Dataset(replace(index, mean=mean, std=std), InMemorySplit([train]), InMemorySplit([records[side == "val"]]))


def _synthetic(config: Config) -> Dataset:
    """Return synthetic data to measure speed: no data is read, and nothing can be learnt."""
    if config.task == "gpt":
        return Dataset(DataIndex("tokens", "<u4", config.vocab, {}), None, None)
    index = DataIndex("images", "|u1", config.vocab, {}, shape=[32, 32, 3], mean=[127.5] * 3, std=[73.6] * 3)
    return Dataset(index, None, None)


def _folder(config: Config) -> Dataset:
    """Open a folder of shards by its URL, or by its name in the job's `data:`."""
    url = os.environ.get(f"GPUYARD_DATA_{config.data.upper().replace('-', '_')}", config.data)
    index = read_index(url)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir()) / "gpuyard-data"
    train, validation = (Shards(url, index, split, cache, config.cache_gib) for split in ("train", "val"))
    return Dataset(index, train, validation, url=url)
