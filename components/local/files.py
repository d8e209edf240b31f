"""Files and directories of a local yard: private, written whole or not at all, never somebody else's."""

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
from typing import Any, TypeVar, cast

PRIVATE = "0700"
_LOCK_WAIT_S = 30.0
_MADE_ON_THE_WAY = {"buckets", "pools", ".yard"}  # a root of the user's own choice is the user's

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Refused(Exception):  # noqa: N818 its name starts the message people read
    """What was asked would lose data or disturb a running job; nothing was changed."""


def explain_os_errors(method: _Method) -> _Method:
    """What the file system refuses a provider is told as the path, the reason and the fix."""

    @functools.wraps(method)
    def wrapper(*args: Any) -> Any:
        try:
            return method(*args)
        except OSError as error:
            fix = "make room or make it writable, or set `local:root` to another place"
            subject = args[1]["path"] if isinstance(args[1], dict) else args[1]  # of create; of update and delete
            raise Refused(f"{error.filename or subject}: {error.strerror}; {fix}") from None

    return cast(_Method, wrapper)


def as_content(data: Any) -> str:
    """Data as the text of a file. The engine drops nulls and turns whole numbers into floats; text it keeps."""
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def make_private(path: Path) -> None:
    """Make a directory that only its owner can enter."""
    path.mkdir(mode=int(PRIVATE, 8), parents=True, exist_ok=True)
    path.chmod(int(PRIVATE, 8))  # of one that was there


def refuse_foreign(path: Path, ours: set[str], fix: str) -> None:
    """Refuse a path that holds anything but entries of the names in `ours`."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise Refused(f"{path} is not a directory; move it away, or set `local:root` to another place")
    found = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    foreign = [name for name in found if name not in ours]
    if foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise Refused(f"{path} holds files this stack did not make ({shown}); {fix}, or move them away")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the pool's lock; whoever changes anything in the pool's directory does."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    with (path / "lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"{path}/lock was held by another process for {_LOCK_WAIT_S:.0f} s; run this again, or find the holder with `fuser`"
                    ) from None
                time.sleep(0.02)
        yield


def write(file: Path, content: str) -> None:
    """Replace a file in one step: after a crash or on a full disk the old one is still whole."""
    new = file.with_name(file.name + ".new")
    with new.open("w") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def remove_tree(path: Path) -> None:
    """Remove a directory and what was made on the way to it; never follow a link."""
    if path.is_symlink():
        raise Refused(f"{path} has become a link: its target is not this stack's to remove; remove the link")
    if path.exists():
        shutil.rmtree(path)
    for parent in path.parents[:2]:
        if parent.name in _MADE_ON_THE_WAY:
            with contextlib.suppress(OSError):  # not empty: something else still lives there
                parent.rmdir()
