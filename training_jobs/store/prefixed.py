"""What the stores of all clouds share: a prefix in a bucket, folders copied whole, and names that cannot lead out of a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ...problems import Problem
from ..errors import UsageError
from .local import plain_errors


class PrefixedStore(ABC):
    """One bucket, or what lies below a prefix of one. A cloud adds its client, its conditional write and its words."""

    def __init__(self, root: str, path: str) -> None:
        """`root` is the bucket's URL, `path` what comes after it in the store's."""
        self._url = root
        self._prefix = f"{path.strip('/')}/" if path.strip("/") else ""

    def exists(self, path: str) -> bool:
        """One head."""
        return self._head(path) is not None

    def download(self, folder: str, into: Path) -> list[str]:
        """Every object below a prefix. One that vanishes meanwhile is left out, as old checkpoints are."""
        start = self._folder(folder)
        with self._plain(folder, "read") as client:
            return [name for key in self._keys(client, start) if (name := self._fetched(client, key, key.removeprefix(start), into))]

    def _fetched(self, client: Any, key: str, name: str, into: Path) -> str | None:
        if PurePosixPath(name).is_absolute() or {"..", ""} & set(name.split("/")):
            raise UsageError(f"{self._url}/{key} is not copied: its name would leave the folder {into}")
        # The inner one first: to Python some of the clients' time-outs are OSErrors.
        with plain_errors(into), self._plain(name, "read"):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            return name if self._copy(client, key, into / name) else None

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _folder(self, path: str) -> str:
        """With what the keys in a folder begin."""
        return self._key(path).rstrip("/") + "/" if path else self._prefix

    @abstractmethod
    def _plain(self, path: str, verb: str) -> AbstractContextManager[Any]:
        """The client; what it raises inside, in words and with an exit code."""

    @abstractmethod
    def _head(self, path: str) -> Any:
        """What the service tells of an object; None when there is none."""

    @abstractmethod
    def _keys(self, client: Any, start: str) -> list[str]:
        """The keys that begin so, sorted, those of folders left out."""

    @abstractmethod
    def _copy(self, client: Any, key: str, target: Path) -> bool:
        """Write an object into a file; False: it is gone."""


def bucket_of(url: str) -> tuple[str, str]:
    """The bucket and the path of a scheme://bucket URL. Raises UsageError when it is none."""
    parts = urlsplit(url)
    if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        forms = f"{parts.scheme}://bucket or {parts.scheme}://bucket/prefix"
        raise UsageError("the bucket cannot be used", [Problem("url", "is no bucket", url, forms)])
    return parts.netloc, parts.path
