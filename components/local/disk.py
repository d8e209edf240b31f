"""The dynamic providers of `local`: what a bucket, a pool and the targets are on disk.

State refers to these classes by module path and name, both frozen contracts: `pulumi destroy` must find them.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from .leases import Lease, live_leases

PRIVATE = "0700"
_LOCK_WAIT_S = 30.0
_MADE_ON_THE_WAY = {"buckets", "pools", ".yard"}  # a root of the user's own choice is the user's
_POOL_ENTRIES = {"pool.json", "pool.json.new", "lock", "leases", "queue", "jobs"}


_Method = TypeVar("_Method", bound=Callable[..., Any])


class Refused(Exception):  # noqa: N818 its name starts the message people read
    """What was asked would lose data or disturb a running job; nothing was changed."""


def _told(method: _Method) -> _Method:
    """What the file system refuses is told as the path, the reason and the fix."""

    @functools.wraps(method)
    def wrapper(*args: Any) -> Any:
        try:
            return method(*args)
        except OSError as error:
            fix = "make room or make it writable, or set `local:root` to another place"
            raise Refused(f"{error.filename}: {error.strerror}; {fix}") from None

    return cast(_Method, wrapper)


class _OnDisk(ResourceProvider):
    """Common to all: identified by `path`; a new path is a new resource; the rest is changed in place."""

    serialize_as_secret_always = False  # the reference is no secret, and readable state is a feature

    def configure(self, req: ConfigureRequest) -> None:
        """Errors are for people: the SDK would print a traceback with each."""
        sys.tracebacklimit = 0

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Compare what is recorded (after a refresh: what is on disk) with what is wanted."""
        changed = [key for key in _news if key != "__provider" and _olds.get(key) != _news[key]]
        return DiffResult(changes=bool(changed), replaces=["path"] if "path" in changed else [])


class BucketProvider(_OnDisk):
    """A bucket: a directory only its owner can enter. Inputs: path, mode."""

    @_told
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the directory; an empty one is taken, a full one refused."""
        path = Path(props["path"])
        _refuse_foreign(path, set(), f"to use it as it is, set `existing: {path}` on the bucket")
        _make_private(path)
        return CreateResult(str(path), {"path": str(path), "mode": props["mode"]})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone when the directory is; otherwise its mode as it is now."""
        path = Path(id_)
        if not path.is_dir():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "mode": f"{stat.S_IMODE(path.stat().st_mode):04o}"})

    @_told
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Restore the mode."""
        _make_private(Path(_id))
        return UpdateResult({"path": _id, "mode": _news["mode"]})

    @_told
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the directory with everything in it."""
        _remove_tree(Path(_id))


class PoolProvider(_OnDisk):
    """A pool: the directory both rooms know (docs/local-pool.md). Inputs: path, content (of pool.json)."""

    @_told
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the directory; what an interrupted create or a lost pool.json left is taken over."""
        path = Path(props["path"])
        if not (path / "pool.json").is_file():
            _refuse_foreign(path, _POOL_ENTRIES, "set `local:root` to another place")
        return CreateResult(str(path), self._write(path, props["content"]))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone when pool.json is; otherwise what it says now."""
        file = Path(id_) / "pool.json"
        if not file.is_file():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "content": file.read_text(errors="replace")})

    @_told
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Rewrite pool.json; refuses to take a node away from a running job."""
        return UpdateResult(self._write(Path(_id), _news["content"]))

    @_told
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the directory; refuses while a job runs on it."""
        path = Path(_id)
        if path.is_dir():
            with _locked(path):
                _refuse_live(path, _running(path))
                (path / "pool.json").unlink(missing_ok=True)  # who waits for the lock must find no pool
                _remove_tree(path)

    def _write(self, path: Path, content: str) -> dict[str, Any]:
        _make_private(path)
        with _locked(path):
            nodes = len(json.loads(content)["nodes"])
            _refuse_live(path, (lease for lease in _running(path) if max(lease.nodes, default=0) >= nodes))
            _make_private(path / "leases")
            _write(path / "pool.json", content)
        return {"path": str(path), "content": content}


class TargetsProvider(_OnDisk):
    """targets.json in the run bucket. Inputs: path, content.

    It goes before the buckets and pools it names, so it is also what keeps them while a job needs them.
    """

    @_told
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Write the file; another stack's file is refused."""
        path, content = Path(props["path"]), props["content"]
        others = _stacks(path.read_text(errors="replace")) - _stacks(content) if path.is_file() else set()
        if others:
            raise Refused(
                f"{path} belongs to the stack {', '.join(sorted(others))}: "
                "a run bucket serves one stack; give this one a bucket of its own with `jobs: write`"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
        return CreateResult(str(path), {"path": str(path), "content": content})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone when the file is; otherwise what it says now."""
        path = Path(id_)
        if not path.is_file():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "content": path.read_text(errors="replace")})

    @_told
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Rewrite the file; refuses to take a bucket or the pool away from a running job."""
        path, content = Path(_id), _news["content"]
        _refuse_orphans(_parsed(_olds["content"]), _parsed(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
        return UpdateResult({"path": _id, "content": content})

    @_told
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the file; refuses while a job runs on one of the pools."""
        path = Path(_id)
        _refuse_orphans(_parsed(_props["content"]), {})
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # runs and code may still lie there
            path.parent.rmdir()


def as_content(data: Any) -> str:
    """Data as the text of a file. The engine drops nulls and turns whole numbers into floats; text it keeps."""
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def _make_private(path: Path) -> None:
    path.mkdir(mode=int(PRIVATE, 8), parents=True, exist_ok=True)
    path.chmod(int(PRIVATE, 8))  # of one that was there


def _refuse_foreign(path: Path, ours: set[str], fix: str) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise Refused(f"{path} is not a directory; move it away, or set `local:root` to another place")
    found = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    foreign = [name for name in found if name not in ours]
    if foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise Refused(f"{path} holds files this stack did not make ({shown}); {fix}, or move them away")


def _refuse_live(path: Path, leases: Iterable[Lease]) -> None:
    lines = [
        f"run {lease.run_id} (pid {lease.pid}) uses node {', '.join(map(str, lease.nodes))}: "
        f"wait for it, or stop it with `gpuyard cancel {lease.run_id}`"
        for lease in leases
    ]
    if lines:
        raise Refused(f"pool {path.name} is in use, nothing was changed. " + "; ".join(lines))


def _refuse_orphans(olds: Mapping[str, Any], news: Mapping[str, Any]) -> None:
    """Refuse when a pool with a running job would go, move, or lose a bucket."""
    for pool, old in olds.items():
        new = news.get(pool, {"pool_dir": None, "buckets": {}})
        kept = old["buckets"].items() <= new["buckets"].items() and old["pool_dir"] == new["pool_dir"]
        if not kept:
            path = Path(old["pool_dir"])
            _refuse_live(path, _running(path))


def _running(path: Path) -> list[Lease]:
    try:
        return live_leases(path)
    except ValueError as error:
        raise Refused(str(error)) from None


def _stacks(content: str) -> set[str]:
    return {str(target.get("stack")) for target in _parsed(content).values()}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
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


def _parsed(content: str) -> dict[str, Any]:
    """The targets in a file; what somebody made unreadable names none."""
    try:
        data = json.loads(content)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _write(file: Path, content: str) -> None:
    new = file.with_name(file.name + ".new")
    with new.open("w") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def _remove_tree(path: Path) -> None:
    if path.is_symlink():
        raise Refused(f"{path} has become a link: its target is not this stack's to remove; remove the link")
    if path.exists():
        shutil.rmtree(path)
    for parent in path.parents[:2]:
        if parent.name in _MADE_ON_THE_WAY:
            with contextlib.suppress(OSError):  # not empty: something else still lives there
                parent.rmdir()
