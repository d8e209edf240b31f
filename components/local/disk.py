"""The dynamic providers of `local`: what a bucket, a pool and the targets are on disk.

State refers to these classes by module path and name, both frozen contracts: `pulumi destroy` must find them.
"""

from __future__ import annotations

import contextlib
import json
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from .files import Refused, explain_os_errors, locked, make_private, refuse_foreign, remove_tree, write
from .leases import Lease, live_leases

_POOL_ENTRIES = {"pool.json", "pool.json.new", "lock", "leases", "queue", "jobs"}


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

    @explain_os_errors
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the directory; an empty one is taken, a full one refused."""
        path = Path(props["path"])
        refuse_foreign(path, set(), f"to use it as it is, set `existing: {path}` on the bucket")
        make_private(path)
        return CreateResult(str(path), {"path": str(path), "mode": props["mode"]})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone when the directory is; otherwise its mode as it is now."""
        path = Path(id_)
        if not path.is_dir():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "mode": f"{stat.S_IMODE(path.stat().st_mode):04o}"})

    @explain_os_errors
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Restore the mode."""
        make_private(Path(_id))
        return UpdateResult({"path": _id, "mode": _news["mode"]})

    @explain_os_errors
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the directory with everything in it."""
        remove_tree(Path(_id))


class PoolProvider(_OnDisk):
    """A pool: the directory both rooms know (docs/local-pool.md). Inputs: path, content (of pool.json)."""

    @explain_os_errors
    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make the directory; what an interrupted create or a lost pool.json left is taken over."""
        path = Path(props["path"])
        if not (path / "pool.json").is_file():
            refuse_foreign(path, _POOL_ENTRIES, "set `local:root` to another place")
        return CreateResult(str(path), self._write(path, props["content"]))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone when pool.json is; otherwise what it says now."""
        file = Path(id_) / "pool.json"
        if not file.is_file():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "content": file.read_text(errors="replace")})

    @explain_os_errors
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Rewrite pool.json; refuses to take a node away from a running job."""
        return UpdateResult(self._write(Path(_id), _news["content"]))

    @explain_os_errors
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the directory; refuses while a job runs on it."""
        path = Path(_id)
        if path.is_dir():
            with locked(path):
                _refuse_live(path, _running(path))
                (path / "pool.json").unlink(missing_ok=True)  # who waits for the lock must find no pool
                remove_tree(path)

    def _write(self, path: Path, content: str) -> dict[str, Any]:
        make_private(path)
        with locked(path):
            nodes = len(json.loads(content)["nodes"])
            _refuse_live(path, (lease for lease in _running(path) if max(lease.nodes, default=0) >= nodes))
            make_private(path / "leases")
            write(path / "pool.json", content)
        return {"path": str(path), "content": content}


class TargetsProvider(_OnDisk):
    """targets.json in the run bucket. Inputs: path, content.

    It goes before the buckets and pools it names, so it is also what keeps them while a job needs them.
    """

    @explain_os_errors
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
        write(path, content)
        return CreateResult(str(path), {"path": str(path), "content": content})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Gone when the file is; otherwise what it says now."""
        path = Path(id_)
        if not path.is_file():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "content": path.read_text(errors="replace")})

    @explain_os_errors
    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Rewrite the file; refuses to take a bucket or the pool away from a running job."""
        path, content = Path(_id), _news["content"]
        _refuse_orphans(_parsed(_olds["content"]), _parsed(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
        return UpdateResult({"path": _id, "content": content})

    @explain_os_errors
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Remove the file; refuses while a job runs on one of the pools."""
        path = Path(_id)
        _refuse_orphans(_parsed(_props["content"]), {})
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # runs and code may still lie there
            path.parent.rmdir()


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


def _parsed(content: str) -> dict[str, Any]:
    """The targets in a file; what somebody made unreadable names none."""
    try:
        data = json.loads(content)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
