"""Reads data folders: flat files of records, described by index.json. A damaged copy is downloaded again.

<url>/index.json        kind, dtype, vocabulary, tokenizer, statistics; per split each file's name, count and sha256
<url>/train-00000.bin   tokens (uint16 or uint32), or images (a label and uint8 pixels), one after the other
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote, urlsplit

import fsspec
import numpy as np
import numpy.typing as npt

from ..launch.storage import RetryingFilesystem, StorageUnreachableError
from .config import ConfigError

Records = npt.NDArray[Any]
_MAX_MAPPED = 8  # largest number of mapped shards of one split
_PREFETCH = 2  # shards fetched ahead


class DataError(ConfigError):
    """Data differs from its index. The message names the file and the fix."""


class DamagedShardError(DataError):
    """A shard is damaged. Only the rank that reads it raises this error."""


class ShardFile(TypedDict):
    """A file of a split: its name, its number of records and its digest."""

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class DataIndex:
    """The content of index.json."""

    kind: str  # tokens | images
    dtype: str  # type of a token or a pixel
    vocab: int  # number of tokens or classes
    splits: dict[str, list[ShardFile]]
    shape: list[int] = field(default_factory=list)  # of an image: height, width, channels
    tokenizer: str = "bytes"  # bytes, or the name of a `tokenizers` file beside the index
    bytes_per_token: float = 1.0
    end_token: int = -1  # the token that ends a document; -1: none
    classes: list[str] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)  # mean of each channel over the training split
    std: list[float] = field(default_factory=list)
    version: int = 1

    @property
    def record_dtype(self) -> np.dtype[Any]:
        """The numpy type of one record."""
        if self.kind == "tokens":
            return np.dtype(self.dtype)
        return np.dtype([("label", "<u2"), ("image", self.dtype, tuple(self.shape))])


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return the filesystem of a URL, and the path in that filesystem. A file:// URL may be percent-encoded.

    Raises ConfigError if fsspec does not know the URL's scheme, or needs a package that is not installed.
    """
    try:
        if urlsplit(url).scheme == "file":
            fs, path = fsspec.core.url_to_fs(unquote(urlsplit(url).path))
        else:  # without a cache of listings: other nodes write too
            fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{url} cannot be opened: {error}") from None
    return (fs if isinstance(fs, fsspec.implementations.local.LocalFileSystem) else RetryingFilesystem(fs)), path


def read_index(url: str) -> DataIndex:
    """Read the index of a data folder. Raises DataError if it does not exist or cannot be read."""
    fs, root = open_filesystem(url)
    try:
        index = DataIndex(**json.loads(fs.cat_file(f"{root}/index.json")))
    except StorageUnreachableError:
        raise
    except (OSError, ValueError, TypeError) as error:
        fix = "fix: make it with `python -m gpuyard.training_jobs.train.prepare`"
        raise DataError(f"data: got {url}, whose index.json cannot be read ({error}); {fix}") from None
    if index.version != 1:
        raise DataError(f"data: {url} has the index version {index.version}, allowed: 1")
    return index


def write_index(url: str, index: DataIndex) -> None:
    """Write index.json. It is written after all other files of a data folder."""
    fs, root = open_filesystem(url)
    fs.pipe_file(f"{root}/index.json", json.dumps(asdict(index), indent=1).encode())


class Shards:
    """Reads the files of one split as arrays. Each file is downloaded once per node, at the latest when it is first needed."""

    def __init__(self, url: str, index: DataIndex, split: str, cache: Path, cache_gib: float) -> None:
        self._url, self._record, self._files = url.rstrip("/"), index.record_dtype, index.splits[split]
        self._cache, self._max_bytes = cache, int(cache_gib * 2**30)
        self._open: OrderedDict[int, Records] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._fetching: dict[int, Future[Path]] = {}
        self.sizes = [int(file["count"]) for file in self._files]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Records:
        if number not in self._open:
            future = self._fetching.pop(number, None)
            path = future.result() if future else self._fetch(number)
            self._open[number] = np.memmap(path, self._record, "r")
            while len(self._open) > _MAX_MAPPED:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]

    def prefetch(self, numbers: list[int]) -> None:
        """Download shards that will be needed soon, in the background."""
        for number in numbers[:_PREFETCH]:
            if number not in self._open and number not in self._fetching:
                self._fetching[number] = self._pool.submit(self._fetch, number)

    def _fetch(self, number: int) -> Path:
        file = self._files[number]
        fs, path = open_filesystem(f"{self._url}/{file['file']}")
        if isinstance(fs, fsspec.implementations.local.LocalFileSystem):
            if problem := _problem(Path(path), file, self._record):
                raise DamagedShardError(
                    f"{path} is damaged: {problem}; fix: make the data again with `python -m gpuyard.training_jobs.train.prepare`"
                )
            return Path(path)
        cached = self._cache / f"{file['sha256']}.bin"
        with _locked(cached.with_suffix(".lock")):
            if problem := _problem(cached, file, self._record):
                problem = self._download(fs, path, cached, file)
            if problem:  # retry once: the transfer may have been cut
                problem = self._download(fs, path, cached, file)
            if problem:
                raise DamagedShardError(f"{self._url}/{file['file']} is damaged, fetched twice: {problem}; fix: upload the data again")
            os.utime(cached)
            self._evict(cached)
        return cached

    def _download(self, fs: Any, path: str, cached: Path, file: ShardFile) -> str | None:
        temporary = cached.with_suffix(".tmp")
        try:
            fs.get_file(path, str(temporary))
        except StorageUnreachableError:
            raise
        except OSError as error:
            return f"cannot be read: {error}"
        if problem := _problem(temporary, file, self._record):
            temporary.unlink()
            return problem
        os.replace(temporary, cached)
        return None

    def _evict(self, newest: Path) -> None:
        """Delete the least recently used files, but never `newest`, until the cache fits its limit. A mapped file stays readable."""
        found = sorted(((path.stat().st_mtime, path) for path in self._cache.glob("*.bin")), reverse=True)
        total = 0
        for _, path in found:
            total += path.stat().st_size
            if total > self._max_bytes and path != newest:
                path.unlink(missing_ok=True)


def _problem(path: Path, file: ShardFile, record: np.dtype[Any]) -> str | None:
    """Return how a file differs from the index; None if it does not."""
    if not path.exists():
        return "it does not exist"
    wants = int(file["count"]) * record.itemsize
    if (size := path.stat().st_size) != wants:
        return f"{size} bytes, the index says {wants}"
    with path.open("rb") as opened:
        got = hashlib.file_digest(opened, "sha256").hexdigest()
    return None if got == file["sha256"] else f"sha256 {got[:12]}, the index says {file['sha256'][:12]}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock: only one process of this node can have it. The kernel releases it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
