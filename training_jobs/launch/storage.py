"""A remote file system that retries failed calls and raises OSErrors. launch and the trainer use it.

fsspec's file systems pass on the error classes of each cloud's client: botocore's EndpointConnectionError and
NoCredentialsError (s3fs), google-auth's DefaultCredentialsError and aiohttp's errors (gcsfs), azure-core's ServiceRequestError (adlfs).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from .node_exit import NodeExitError

__all__ = ["RetryingFilesystem", "StorageUnreachableError", "translated_errors"]

_PAUSES_S = (0.1, 0.5, 2.0, 5.0)
_PERMANENT = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
_NOT_STORAGE = (TypeError, AttributeError, NotImplementedError, ImportError)  # a package that is too old or missing


class StorageUnreachableError(OSError):
    """The storage does not answer, or refuses this process. The error's cause is the cloud's own error."""


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Convert errors of a cloud's client to StorageUnreachableError. OSErrors, and errors of old or missing packages, are not converted."""
    try:
        yield
    except (OSError, NodeExitError, *_NOT_STORAGE):
        raise
    except Exception as error:
        raise StorageUnreachableError(_message(error)) from error


def _message(error: Exception) -> str:
    """Return the error as one line. The queries of URLs are removed, because they may contain a signature."""
    return f"{type(error).__name__}: {' '.join(word.split('?', 1)[0] for word in str(error).split())[:400]}".rstrip(": ")


class RetryingFilesystem:
    """A remote file system that retries failed calls, except after errors that a retry cannot fix.

    Raises StorageUnreachableError if the last call fails. Use it only for calls that are safe to repeat.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            for pause in (*_PAUSES_S, None):
                try:
                    with translated_errors():
                        return getattr(self._raw, name)(*args, **more)
                except _PERMANENT:
                    raise
                except OSError as error:
                    if pause is None:
                        raise error if isinstance(error, StorageUnreachableError) else StorageUnreachableError(_message(error)) from error
                    time.sleep(pause)
            raise AssertionError("the last call returns or raises")

        return call
