"""Real text without a network: the bytes of Python's own standard library, held out by file, the same on every rank."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .config import ConfigError

Bytes = npt.NDArray[np.uint8]
_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "lib2to3"}


@dataclass(frozen=True)
class Corpus:
    """Bytes to train on, and other files' bytes to validate on."""

    train: Bytes
    validation: Bytes


def load(corpus_bytes: int, val_bytes: int) -> Corpus:
    """Read the standard library's files in the order of their paths' digests: the first are held out, the rest trained on.

    Raises ConfigError when there is less text than asked to hold out.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    train, validation = bytearray(), bytearray()
    for name in _files(root):
        if len(train) >= corpus_bytes:
            break
        (validation if len(validation) < val_bytes else train).extend((root / name).read_bytes())
    if not train:
        raise ConfigError(f"val_bytes: got {val_bytes}, but all the text below {root} is {len(validation)} bytes")
    return Corpus(np.frombuffer(bytes(train), np.uint8)[:corpus_bytes], np.frombuffer(bytes(validation), np.uint8)[:val_bytes])


def _files(root: Path) -> list[str]:
    """The files' paths in an order that has nothing to do with what is in them, and is the same everywhere."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in files if name.endswith(".py")]
    return sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())


def bigram_entropy(data: Bytes) -> float:
    """The empirical entropy of a byte given the one before it, in nats: no bigram model does better on these very bytes."""
    pairs = np.bincount(data[:-1].astype(np.int64) * 256 + data[1:], minlength=65536).reshape(256, 256).astype(np.float64)
    share = pairs / pairs.sum(axis=1, keepdims=True).clip(min=1)
    return float(-(pairs[pairs > 0] * np.log(share[pairs > 0])).sum() / pairs.sum())


def batch(data: Bytes, seed: int, step: int, size: int, context: int) -> npt.NDArray[np.int64]:
    """The windows of one step, `context` + 1 bytes each: a pure function of seed and step, so that a resume needs no state."""
    starts = np.random.Generator(np.random.Philox(key=[seed, step])).integers(0, len(data) - context, size)
    return _cut(data, starts, context)


def windows(data: Bytes, context: int, rank: int, world: int) -> npt.NDArray[np.int64]:
    """A rank's share of all the windows that lie end to end in the data."""
    count = (len(data) - 1) // context
    starts = np.arange(rank, count, world) * context
    return _cut(data, starts, context)


def _cut(data: Bytes, starts: npt.NDArray[np.int64], context: int) -> npt.NDArray[np.int64]:
    windows: npt.NDArray[np.int64] = data[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return windows
