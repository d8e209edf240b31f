"""Data as flat files of records: index.json tells what is in them, a file that is not what it says is fetched again.

<url>/index.json        kind, dtype, vocabulary, tokenizer, statistics; per split each file's name, count and sha256
<url>/train-00000.bin   tokens (uint16 or uint32), or images (a label and uint8 pixels), one after the other
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import numpy as np
import numpy.typing as npt

from .config import ConfigError

Records = npt.NDArray[Any]
_OPEN = 8  # shards of one split mapped at a time
_PAUSES_S = (0.1, 0.5, 2.0, 5.0)  # between the tries of a far filesystem
_CERTAIN = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_AHEAD = 2  # shards fetched before they are needed


class DataError(ConfigError):
    """Data that is not what its index says; the message names the file and the fix."""


@dataclass(frozen=True)
class Index:
    """What index.json holds."""

    kind: str  # tokens | images
    dtype: str  # of one token, or of one pixel
    vocab: int  # tokens or classes
    splits: dict[str, list[dict[str, Any]]]
    shape: list[int] = field(default_factory=list)  # of an image: height, width, channels
    tokenizer: str = "bytes"  # bytes, or the name of a `tokenizers` file beside the index
    bytes_per_token: float = 1.0
    classes: list[str] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)  # of each channel, over the training split
    std: list[float] = field(default_factory=list)
    version: int = 1

    @property
    def record(self) -> np.dtype[Any]:
        """The numpy type of one record."""
        if self.kind == "tokens":
            return np.dtype(self.dtype)
        return np.dtype([("label", "<u2"), ("image", self.dtype, tuple(self.shape))])


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL and the path in it; a file:// URL may have spaces quoted."""
    if urlsplit(url).scheme == "file":
        fs, path = fsspec.core.url_to_fs(unquote(urlsplit(url).path))
    else:  # what another node wrote meanwhile must be seen
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return (fs if isinstance(fs, fsspec.implementations.local.LocalFileSystem) else _Patient(fs)), path


class _Patient:
    """A far filesystem whose calls are tried again: stores fail now and then. What is certain is not."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            for pause in _PAUSES_S:
                try:
                    return getattr(self._fs, name)(*args, **more)
                except _CERTAIN:
                    raise
                except OSError:
                    time.sleep(pause)
            return getattr(self._fs, name)(*args, **more)

        return call


def read_index(url: str) -> Index:
    """The index of a data folder. Raises DataError when there is none or it cannot be read."""
    fs, root = filesystem(url)
    try:
        index = Index(**json.loads(fs.cat_file(f"{root}/index.json")))
    except (OSError, ValueError, TypeError) as error:
        fix = "fix: make it with `python -m gpuyard.training_jobs.train.prepare`"
        raise DataError(f"data: got {url}, whose index.json cannot be used ({error}). {fix}") from None
    if index.version != 1:
        raise DataError(f"data: {url} has index version {index.version}, this trainer reads version 1")
    return index


def write_index(url: str, index: Index) -> None:
    """Write index.json: the last file of a data folder."""
    fs, root = filesystem(url)
    fs.pipe_file(f"{root}/index.json", json.dumps(asdict(index), indent=1).encode())


class Shards:
    """The files of one split as arrays: fetched once per node when first used, the next ones ahead of time."""

    def __init__(self, url: str, index: Index, split: str, cache: Path, cache_gib: float) -> None:
        self._url, self._record, self._files = url.rstrip("/"), index.record, index.splits[split]
        self._cache, self._cap = cache, int(cache_gib * 2**30)
        self._open: OrderedDict[int, Records] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._coming: dict[int, Future[Path]] = {}
        self.sizes = [int(file["count"]) for file in self._files]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Records:
        if number not in self._open:
            coming = self._coming.pop(number, None)
            path = coming.result() if coming else self._fetch(number)
            self._open[number] = np.memmap(path, self._record, "r")
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]

    def expect(self, numbers: list[int]) -> None:
        """Fetch shards that will be needed soon, in the background."""
        for number in numbers[:_AHEAD]:
            if number not in self._open and number not in self._coming:
                self._coming[number] = self._pool.submit(self._fetch, number)

    def _fetch(self, number: int) -> Path:
        file = self._files[number]
        fs, path = filesystem(f"{self._url}/{file['file']}")
        if isinstance(fs, fsspec.implementations.local.LocalFileSystem):
            if wrong := _wrong(Path(path), file, self._record):
                raise DataError(
                    f"{path} is damaged: {wrong}. fix: make the data again with `python -m gpuyard.training_jobs.train.prepare`"
                )
            return Path(path)
        kept = self._cache / f"{file['sha256']}.bin"
        with _locked(kept.with_suffix(".lock")):
            if wrong := _wrong(kept, file, self._record):
                wrong = self._download(fs, path, kept, file)
            if wrong:  # once more: a transfer may have been cut
                wrong = self._download(fs, path, kept, file)
            if wrong:
                raise DataError(f"{self._url}/{file['file']} is damaged, fetched twice: {wrong}. fix: upload the data again")
            os.utime(kept)
            self._evict(kept)
        return kept

    def _download(self, fs: Any, path: str, kept: Path, file: dict[str, Any]) -> str | None:
        beside = kept.with_suffix(".tmp")
        try:
            fs.get_file(path, str(beside))
        except OSError as error:
            return f"cannot be read: {error}"
        if wrong := _wrong(beside, file, self._record):
            beside.unlink()
            return wrong
        os.replace(beside, kept)
        return None

    def _evict(self, newest: Path) -> None:
        """Drop the longest unused files above the cap; one that is still mapped stays readable."""
        found = sorted(((path.stat().st_mtime, path) for path in self._cache.glob("*.bin")), reverse=True)
        total = 0
        for _, path in found:
            total += path.stat().st_size
            if total > self._cap and path != newest:
                path.unlink(missing_ok=True)


def _wrong(path: Path, file: dict[str, Any], record: np.dtype[Any]) -> str | None:
    """What is wrong with a file; None when it is what the index says."""
    if not path.exists():
        return "it is not there"
    wants = int(file["count"]) * record.itemsize
    if (size := path.stat().st_size) != wants:
        return f"{size} bytes, the index says {wants}"
    with path.open("rb") as opened:
        got = hashlib.file_digest(opened, "sha256").hexdigest()
    return None if got == file["sha256"] else f"sha256 {got[:12]}, the index says {str(file['sha256'])[:12]}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process of this node at a time; the kernel frees the lock of one that dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
