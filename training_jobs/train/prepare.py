"""Makes data folders: `python -m gpuyard.training_jobs.train.prepare INPUT... out=URL [kind=text|jsonl|images] [key=value ...]`.

    prepare docs/ out=file:///data/docs                               every file below docs/, as bytes
    prepare pile.jsonl out=s3://b/pile kind=jsonl field=text tokenizer=gpt2.json
    prepare photos/ out=file:///data/photos kind=images size=64       photos/<class>/<image>

Documents and images are written in random order (`seed`). Training reads one file at a time, so each file must contain all classes and
sources. The content alone decides the split: it never changes, and copies get the same split.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .config import ConfigError, parse_settings
from .data import assign_split
from .optional import require_optional
from .shards import DataIndex, ShardFile, open_filesystem, write_index

_T = TypeVar("_T")
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


@dataclass(frozen=True)
class Settings:
    """The settings of `prepare`."""

    out: str = ""
    kind: str = "text"  # text | jsonl | images
    field: str = "text"  # the text's key in a JSONL line
    tokenizer: str = "bytes"  # bytes, or the path of a `tokenizers` file
    end: str = "<|endoftext|>"  # the tokenizer's token that ends a document; tokenizer=bytes ends it with a zero byte
    held_out: float = 0.1
    seed: int = 0  # seed of the order of documents and images
    shard_mib: int = 128
    size: int = 32  # width and height of the images after scaling, in pixels
    channels: int = 3


def main(words: list[str]) -> int:
    """Make a data folder. Returns an exit code."""
    try:
        inputs, settings = _parse(words)
        index = prepare(inputs, settings)
    except (ConfigError, OSError, ValueError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 64
    counts = {split: sum(file["count"] for file in files) for split, files in index.splits.items()}
    print(f"{settings.out}: {index.kind}, {index.vocab} {'distinct tokens' if index.kind == 'tokens' else 'classes'}, {counts}")
    return 0


def prepare(inputs: list[Path], settings: Settings) -> DataIndex:
    """Write the shards, then index.json. Raises ConfigError if a split is empty."""
    index = _images(inputs, settings) if settings.kind == "images" else _tokens(inputs, settings)
    for split in ("train", "val"):
        if not index.splits[split]:
            raise ConfigError(
                f"held_out: got {settings.held_out}, which leaves the split {split} empty; fix: use more input, or another held_out="
            )
    write_index(settings.out, index)
    return index


class _Shard:
    """Collects the records of one split and writes them in files of the configured size."""

    def __init__(self, out: str, split: str, limit: int, record: np.dtype[Any]) -> None:
        self._fs, self._root = open_filesystem(out.rstrip("/"))
        self._split, self._limit, self._record = split, limit, record
        self._data = bytearray()
        self.files: list[ShardFile] = []

    def add(self, records: npt.NDArray[Any]) -> None:
        """Add records. A document may continue in the next file."""
        self._data += records.astype(self._record).tobytes()
        whole = max(self._limit // self._record.itemsize, 1) * self._record.itemsize
        while len(self._data) >= whole:
            self._write(whole)

    def close(self) -> list[ShardFile]:
        """Write the remaining records. Returns all files."""
        if self._data:
            self._write(len(self._data))
        return self.files

    def _write(self, length: int) -> None:
        data = bytes(self._data[:length])
        del self._data[:length]
        name = f"{self._split}-{len(self.files):05d}.bin"
        self._fs.makedirs(self._root, exist_ok=True)
        self._fs.pipe_file(f"{self._root}/{name}", data)
        self.files.append({"file": name, "count": length // self._record.itemsize, "sha256": hashlib.sha256(data).hexdigest()})


def _tokens(inputs: list[Path], settings: Settings) -> DataIndex:
    encode, vocab, name, end = _encoder(settings)
    record = np.dtype("<u1" if vocab <= 256 else "<u2" if vocab <= 65536 else "<u4")
    shards = {split: _Shard(settings.out, split, settings.shard_mib * 2**20, record) for split in ("train", "val")}
    sizes = [0, 0]
    for document in _documents(inputs, settings):
        tokens = encode(document)
        shards[assign_split(document, settings.held_out)].add(tokens)
        sizes[0] += len(document) + 1
        sizes[1] += len(tokens)
    splits = {split: shard.close() for split, shard in shards.items()}
    ratio = sizes[0] / max(sizes[1], 1)
    return DataIndex("tokens", record.str, vocab, splits, tokenizer=name, bytes_per_token=ratio, end_token=end)


def _encoder(settings: Settings) -> tuple[Any, int, str, int]:
    """Return the function that encodes a document, the vocabulary's size, the tokenizer's file name, and the end token."""
    if settings.tokenizer == "bytes":
        return lambda document: np.frombuffer(document + b"\0", np.uint8), 256, "bytes", 0
    text = Path(settings.tokenizer).read_text(encoding="utf-8")
    tokenizer = require_optional("tokenizers", f"tokenizer={settings.tokenizer}").Tokenizer.from_str(text)
    end = tokenizer.token_to_id(settings.end)
    if end is None:
        raise ConfigError(
            f"end: got {settings.end!r}, which {settings.tokenizer} does not have; fix: end=TOKEN, the end-of-text token of this tokenizer"
        )
    fs, root = open_filesystem(settings.out.rstrip("/"))
    fs.makedirs(root, exist_ok=True)
    fs.pipe_file(f"{root}/tokenizer.json", text.encode())
    return (
        lambda document: np.array([*tokenizer.encode(document.decode(errors="replace")).ids, end]),
        tokenizer.get_vocab_size(),
        "tokenizer.json",
        end,
    )


def _documents(inputs: list[Path], settings: Settings) -> Iterator[bytes]:
    if settings.kind == "text":
        yield from (path.read_bytes() for path in _shuffled(list(_files(inputs)), settings.seed))
        return
    paths = list(_files(inputs))
    places = [(file, number, offset) for file, path in enumerate(paths) for number, offset in enumerate(_line_offsets(path), 1)]
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(path.open("rb")) for path in paths]
        for file, number, offset in _shuffled(places, settings.seed):
            opened[file].seek(offset)
            try:
                yield str(json.loads(opened[file].readline())[settings.field]).encode()
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{paths[file]} line {number}: not a JSON object with the key {settings.field!r} ({error})") from None


def _line_offsets(path: Path) -> Iterator[int]:
    offset = 0
    with path.open("rb") as lines:
        for line in lines:
            yield offset
            offset += len(line)


def _shuffled(items: list[_T], seed: int) -> Iterator[_T]:
    return (items[place] for place in np.random.Generator(np.random.Philox(seed)).permutation(len(items)))


def _images(inputs: list[Path], settings: Settings) -> DataIndex:
    files = [path for path in _files(inputs) if path.suffix.lower() in _IMAGES]
    classes = sorted({path.parent.name for path in files})
    shape = [settings.size, settings.size, settings.channels]
    index = DataIndex("images", "|u1", len(classes), {}, shape=shape, classes=classes)
    shards = {split: _Shard(settings.out, split, settings.shard_mib * 2**20, index.record_dtype) for split in ("train", "val")}
    sums = np.zeros((2, settings.channels))
    pixels = 0
    for path in _shuffled(files, settings.seed):
        image = read_image(path, shape)
        split = assign_split(path.read_bytes(), settings.held_out)
        record = np.zeros(1, index.record_dtype)
        record["label"], record["image"] = classes.index(path.parent.name), image
        shards[split].add(record)
        if split == "train":
            flat = image.reshape(-1, settings.channels).astype(np.float64)
            sums += [flat.sum(0), (flat**2).sum(0)]
            pixels += len(flat)
    mean = sums[0] / max(pixels, 1)
    std = np.sqrt(np.maximum(sums[1] / max(pixels, 1) - mean**2, 1e-6))
    splits = {split: shard.close() for split, shard in shards.items()}
    return DataIndex("images", "|u1", len(classes), splits, shape=shape, classes=classes, mean=mean.tolist(), std=std.tolist())


def read_image(path: Path, shape: list[int]) -> npt.NDArray[np.uint8]:
    """Read an image file and scale it to a shape: height, width, channels."""
    image = require_optional("PIL.Image", "reading images").open(path)
    scaled = image.convert("L" if shape[2] == 1 else "RGB").resize((shape[1], shape[0]))
    return np.asarray(scaled, np.uint8).reshape(shape)


def _files(inputs: Iterable[Path]) -> Iterator[Path]:
    for path in inputs:
        if not path.exists():
            raise ConfigError(f"input: got {path}, which does not exist")
        yield from sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _parse(words: list[str]) -> tuple[list[Path], Settings]:
    paths = [word for word in words if Path(word).exists()]  # also a path with an equals sign in it
    values, others, problems = parse_settings([word for word in words if word not in paths], Settings)
    if problems:
        raise ConfigError("\n".join(problems))
    found = Settings(**values)
    if not (paths or others) or not found.out or found.kind not in ("text", "jsonl", "images"):
        names = [field.name for field in fields(Settings)][2:]
        raise ConfigError("usage: prepare INPUT... out=URL [kind=text|jsonl|images] [" + "=] [".join(names) + "=]")
    return [Path(word) for word in (*paths, *others)], found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
