"""Files and directories of a local yard: private permissions, atomic writes, a lock, and errors for directories of other programs."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

__all__ = [
    "PRIVATE",
    "Refused",
    "as_content",
    "explain_os_errors",
    "locked",
    "make_private",
    "refuse_foreign",
    "remove_tree",
    "write",
]

PRIVATE = "0700"
"""Mode of every directory: only its owner can enter."""
_LOCK_WAIT_S = 30.0
_OWN_PARENTS = {"buckets", "pools", ".yard"}  # a directory that the user chose as `local:root` is not removed

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Refused(Exception):  # noqa: N818 the message starts with this name
    """An operation that would lose data or disturb a running job, or that the file system does not allow."""


def explain_os_errors(method: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate a provider's method: an OSError becomes Refused with the path, the reason and a fix."""

    @functools.wraps(method)
    def wrapper(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            fix = "free disk space, make the directory writable, or set `local:root` to another directory"
            subject = args[1]["path"] if isinstance(args[1], dict) else args[1]  # inputs of create, or the id of update and delete
            raise Refused(f"{error.filename or subject}: {error.strerror}; {fix}") from None

    return wrapper


def as_content(data: object) -> str:
    """Return data as JSON text. Resources store text, because Pulumi's engine drops nulls and converts integers to floats."""
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def make_private(path: Path) -> None:
    """Make a directory with the mode PRIVATE. An existing directory gets this mode too."""
    path.mkdir(mode=int(PRIVATE, 8), parents=True, exist_ok=True)
    path.chmod(int(PRIVATE, 8))  # mkdir does not change an existing directory


def refuse_foreign(path: Path, ours: set[str], fix: str) -> None:
    """Raise Refused if the path is not a directory or has entries besides `ours`. `fix`: part of the message."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise Refused(f"{path} is not a directory; move it away, or set `local:root` to another directory")
    found = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    foreign = [name for name in found if name not in ours]
    if foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise Refused(f"{path} has files that this stack did not make ({shown}); {fix}, or move the files away")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a pool's directory, for every change in it. Raises Refused if another process has the lock for 30 seconds."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    with (path / "lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"pool is locked by another process (tried {_LOCK_WAIT_S:.0f} s): {path}/lock"
                    raise Refused(f"{message}; retry, or find the process with `fuser {path}/lock`") from None
                time.sleep(0.02)
        yield


def write(file: Path, content: str) -> None:
    """Replace a file in one step. After a crash or on a full disk, the file still has its old content."""
    new = file.with_name(file.name + ".new")
    with new.open("w") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def remove_tree(path: Path) -> None:
    """Remove a directory and its empty parents that gpuyard made. Raises Refused for a symbolic link."""
    if path.is_symlink():
        raise Refused(f"{path} is now a symbolic link, and this stack did not make the link's target; remove the link")
    if path.exists():
        shutil.rmtree(path)
    for parent in path.parents[:2]:
        if parent.name in _OWN_PARENTS:
            with contextlib.suppress(OSError):  # not empty: other buckets or pools
                parent.rmdir()
