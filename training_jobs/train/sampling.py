"""Decides which samples are in the batch of a step. It depends only on seed and step, so a resume needs no loader state.

Each epoch visits the shards in a new order, and the samples of each shard in a new order (a Feistel network over their
numbers). So only a few shards are needed at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_ROUNDS = 4


class SampleOrder:
    """An endless shuffled sequence of samples from shards of the given sizes."""

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        self._sizes, self._seed = np.asarray(sizes, np.int64), seed
        self.epoch_size = int(self._sizes.sum())

    def batch(self, step: int, size: int) -> list[tuple[int, int, int]]:
        """Return the samples of a step as (epoch, shard, number in the shard)."""
        numbers = np.arange(step * size, (step + 1) * size, dtype=np.int64)
        epochs, inside = np.divmod(numbers, self.epoch_size)
        found: list[tuple[int, int, int]] = []
        for epoch in np.unique(epochs):
            shards, ends = self.shards(int(epoch))
            places = inside[epochs == epoch]
            positions = np.searchsorted(ends, places, side="right")
            for position in np.unique(positions):
                shard = int(shards[position])
                local = places[positions == position] - (ends[position] - self._sizes[shard])
                mixed = permute(local, int(self._sizes[shard]), self._key(int(epoch), shard))
                found += [(int(epoch), shard, int(number)) for number in mixed]
        return found

    def shards(self, epoch: int) -> tuple[Ints, Ints]:
        """Return the shards in an epoch's order, and the position at which each shard ends."""
        order = np.random.Generator(np.random.Philox(key=[self._seed, epoch])).permutation(len(self._sizes))
        return order, np.cumsum(self._sizes[order])

    def _key(self, epoch: int, shard: int) -> int:
        return (self._seed * 0x9E3779B1 + epoch * 0x85EBCA77 + shard * 0xC2B2AE3D) & 0xFFFFFFFFFFFF


def permute(numbers: Ints, size: int, key: int) -> Ints:
    """Apply a permutation of 0 to size - 1 to the numbers: a Feistel network, repeated until the result is below size."""
    half = max((max(size - 1, 1).bit_length() + 1) // 2, 1)
    mask = np.uint64((1 << half) - 1)
    mixed = numbers.astype(np.uint64)
    todo = np.ones(len(mixed), bool)
    while todo.any():
        left, right = mixed[todo] >> np.uint64(half), mixed[todo] & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (_hash(right, key + number) & mask)
        mixed[todo] = (left << np.uint64(half)) | right
        todo = mixed >= np.uint64(size)
    return mixed.astype(np.int64)


def _hash(values: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """Hash values with the finaliser of splitmix64."""
    mixed = values + np.uint64((key * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def rank_slice(size: int, rank: int, world: int) -> tuple[int, int]:
    """Return a rank's part of a batch as (first, last + 1). The sizes of the parts differ by at most one sample."""
    return rank * size // world, (rank + 1) * size // world
