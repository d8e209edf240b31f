"""What there is to train on, under one shape: the standard library's text, scikit-learn's digits, noise, or a folder of shards."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import corpus
from .config import Config, ConfigError
from .optional import need
from .sampling import Ints, Order, share
from .shards import Index, Records, Shards, read_index


class Split(Protocol):
    """Arrays of records, some of which may have to be fetched first."""

    @property
    def sizes(self) -> list[int]:
        """How many records each has."""

    def __getitem__(self, number: int) -> Records: ...

    def expect(self, numbers: list[int]) -> None:
        """Some will be needed soon."""


@dataclass(frozen=True)
class Memory:
    """Records that are there already."""

    arrays: Sequence[Records]

    @property
    def sizes(self) -> list[int]:
        """How many records each has."""
        return [len(array) for array in self.arrays]

    def __getitem__(self, number: int) -> Records:
        return self.arrays[number]

    def expect(self, numbers: list[int]) -> None:
        """Nothing has to be fetched."""


@dataclass(frozen=True)
class Data:
    """The two splits, and what their index says. Noise has no splits."""

    index: Index
    train: Split | None
    validation: Split | None
    url: str = ""
    facts: dict[str, float] = field(default_factory=dict)  # what a simple model of the text can do, in nats


def load(config: Config) -> Data:
    """The data a config names. Raises ConfigError when it does not fit the config."""
    builtin = {"stdlib": _stdlib, "digits": _digits, "synthetic": _synthetic}.get(config.data)
    data = builtin(config) if builtin else _folder(config)
    kind = {"gpt": "tokens", "resnet": "images"}[config.task]
    if data.index.kind != kind:
        raise ConfigError(f"data: got {config.data}, which holds {data.index.kind}; task={config.task} wants {kind}")
    if data.index.vocab > config.vocab:
        what = "tokens" if kind == "tokens" else "classes"
        raise ConfigError(f"vocab: got {config.vocab}, but {config.data} has {data.index.vocab} {what}. fix: vocab={data.index.vocab}")
    return data


class Windows:
    """Token windows of a split: `context` + 1 tokens each, cut at a phase that changes with the epoch."""

    def __init__(self, split: Split, context: int, seed: int) -> None:
        self._split, self._context, self._seed = split, context, seed
        counts = [max((size - context) // context, 0) for size in split.sizes]
        if not sum(counts):
            raise ConfigError(f"context: got {context}, but no shard has two windows of it")
        self._order = Order(counts, seed)

    def batch(self, step: int, size: int, first: int, last: int) -> Ints:
        """The windows `first` to `last` of a step's batch."""
        places = self._order.batch(step, size)[first:last]
        rows = np.empty((len(places), self._context + 1), np.int64)
        for row, (epoch, shard, number) in enumerate(places):
            phase = (epoch * 0x9E3779B1 + self._seed) % self._context
            start = number * self._context + phase
            rows[row] = self._split[shard][start : start + self._context + 1]
        if places:
            order, _ = self._order.shards(places[-1][0])
            following = list(order).index(places[-1][1]) + 1
            self._split.expect([int(number) for number in order[following:]])
        return rows

    def all(self, rank: int, world: int) -> Ints:
        """A rank's part of all the windows that lie end to end."""
        parts = []
        for shard, size in enumerate(self._split.sizes):
            first, last = share((size - 1) // self._context, rank, world)
            starts = np.arange(first, last) * self._context
            parts.append(self._split[shard][starts[:, None] + np.arange(self._context + 1)].astype(np.int64))
        return np.concatenate(parts)


class Images:
    """Images and labels of a split, in an order of their own each epoch."""

    def __init__(self, split: Split, seed: int, shift: int) -> None:
        self._split, self._seed, self._shift = split, seed, shift
        self._order = Order(split.sizes, seed)

    def batch(self, step: int, size: int, first: int, last: int) -> tuple[npt.NDArray[np.uint8], Ints]:
        """The images `first` to `last` of a step's batch, each moved a little, and their labels."""
        places = self._order.batch(step, size)
        random = np.random.Generator(np.random.Philox(key=[self._seed, step]))  # for the whole batch: any world moves alike
        moves = random.integers(0, 2 * self._shift + 1, (size, 2))[first:last]
        records = [self._split[shard][number] for _, shard, number in places[first:last]]
        images = np.stack([_moved(record["image"], move, self._shift) for record, move in zip(records, moves, strict=True)])
        return images, np.array([record["label"] for record in records], np.int64)

    def all(self, rank: int, world: int) -> tuple[npt.NDArray[np.uint8], Ints]:
        """A rank's part of all the images."""
        parts = []
        for shard, size in enumerate(self._split.sizes):
            first, last = share(size, rank, world)
            parts.append(self._split[shard][first:last])
        records = np.concatenate(parts)
        return records["image"], records["label"].astype(np.int64)


def _moved(image: Records, move: Ints, most: int) -> Records:
    if not most:
        return image
    height, width, _ = image.shape
    wide = np.pad(image, ((most, most), (most, most), (0, 0)))
    return wide[move[0] : move[0] + height, move[1] : move[1] + width]


def split_of(content: bytes, held_out: float) -> str:
    """Train or val, by nothing but the content: a document never changes sides, and copies of it never part."""
    return "val" if int.from_bytes(hashlib.sha256(content).digest()[:8]) < held_out * 2**64 else "train"


def _stdlib(config: Config) -> Data:
    text = corpus.load(config.corpus_bytes, config.val_bytes)
    index = Index("tokens", "<u1", 256, {})
    facts = {"bigram_entropy": corpus.entropy(text.train, 2), "trigram_entropy": corpus.entropy(text.train, 3)}
    return Data(index, Memory([text.train]), Memory([text.validation]), facts=facts)


def _digits(config: Config) -> Data:
    loaded: Any = need("sklearn.datasets", "data=digits").load_digits()
    index = Index("images", "|u1", 10, {}, shape=[8, 8, 1], classes=[str(digit) for digit in range(10)])
    records = np.zeros(len(loaded.target), index.record)
    records["label"], records["image"] = loaded.target, np.round(loaded.images * 15.9375).astype(np.uint8)[..., None]
    side = np.array([split_of(record["image"].tobytes(), 0.2) for record in records])
    train = records[side == "train"]
    mean, std = [float(train["image"].mean())], [float(train["image"].std())]
    return Data(replace(index, mean=mean, std=std), Memory([train]), Memory([records[side == "val"]]))


def _synthetic(config: Config) -> Data:
    """Noise, for pure speed: no data is read and nothing can be learnt."""
    if config.task == "gpt":
        return Data(Index("tokens", "<u4", config.vocab, {}), None, None)
    index = Index("images", "|u1", config.vocab, {}, shape=[32, 32, 3], mean=[127.5] * 3, std=[73.6] * 3)
    return Data(index, None, None)


def _folder(config: Config) -> Data:
    """A folder of shards, by its URL or by the name that a job's `data:` gives it."""
    url = os.environ.get(f"GPUYARD_DATA_{config.data.upper().replace('-', '_')}", config.data)
    index = read_index(url)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir()) / "gpuyard-data"
    train, validation = (Shards(url, index, split, cache, config.cache_gib) for split in ("train", "val"))
    return Data(index, train, validation, url=url)
