"""Training text that needs no download: the source files of Python's standard library, split by file. All ranks get the same text."""

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
    """The bytes for training, and bytes of other files for validation."""

    train: Bytes
    validation: Bytes


def load(corpus_bytes: int, val_bytes: int) -> Corpus:
    """Read the standard library's files, ordered by digests of their paths. The first files are for validation.

    Raises ConfigError when the library is smaller than `val_bytes`.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    train, validation = bytearray(), bytearray()
    for name in _files(root):
        if len(train) >= corpus_bytes:
            break
        (validation if len(validation) < val_bytes else train).extend((root / name).read_bytes())
    if not train:
        raise ConfigError(f"val_bytes: got {val_bytes}, allowed: less than the {len(validation)} bytes of text below {root}")
    return Corpus(np.frombuffer(bytes(train), np.uint8)[:corpus_bytes], np.frombuffer(bytes(validation), np.uint8)[:val_bytes])


def _files(root: Path) -> list[str]:
    """List the files, sorted by digests of their paths. So the order is the same on every machine."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in files if name.endswith(".py")]
    return sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())


def entropy(data: Bytes, order: int) -> float:
    """Return the entropy of a byte given the `order` - 1 bytes before it, in nats. No n-gram model of this order has a lower loss."""
    wide = data.astype(np.int64)
    grams = sum(wide[place : len(wide) - order + 1 + place] * 256 ** (order - 1 - place) for place in range(order))
    found, counts = np.unique(np.asarray(grams), return_counts=True)
    _, group = np.unique(found // 256, return_inverse=True)
    before = np.bincount(group, counts)[group]
    return float(-(counts * np.log(counts / before)).sum() / counts.sum())
