"""Pulumi dynamic providers of `local`: buckets, pools and targets.json as directories and files on this machine.

The states of stacks refer to these classes by module path and name. Neither may change, because `pulumi destroy` must find them.
"""

from __future__ import annotations

import contextlib
import json
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

from .files import Refused, explain_os_errors, locked, make_private, refuse_foreign, remove_tree, write
from .leases import Lease, live_leases

__all__ = ["BucketProvider", "PoolProvider", "TargetsProvider"]

_POOL_ENTRIES = {"pool.json", "pool.json.new", "lock", "leases", "queue", "jobs"}


class _Target(TypedDict):
    """The fields of a job target that decide whether a running job still finds its pool and buckets."""

    stack: str
    pool_dir: str
    buckets: dict[str, str]


class _OnDisk(ResourceProvider):
    """Base class of the providers. The resource id is `path`. A new path replaces the resource; every other change updates it."""

    serialize_as_secret_always = False  # the reference is not a secret, and the state stays readable

    def configure(self, req: ConfigureRequest) -> None:
        """Stop the SDK from printing a traceback with each error."""
        sys.tracebacklimit = 0

    def diff(self, _id: str, _olds: Mapping[str, str], _news: Mapping[str, str]) -> DiffResult:
        """Compare the recorded outputs with the new inputs. After a refresh, the outputs are the values on disk."""
        changed = [key for key in _news if key != "__provider" and _olds.get(key) != _news[key]]
        return DiffResult(changes=bool(changed), replaces=["path"] if "path" in changed else [])


class BucketProvider(_OnDisk):
    """A bucket: a directory that only its owner can enter. Inputs: path, mode.

    A new path in the inputs does not move or replace the directory. Otherwise a bucket renamed with an alias, or another `local:root`,
    would delete the data.
    """

    def diff(self, _id: str, _olds: Mapping[str, str], _news: Mapping[str, str]) -> DiffResult:
        """Compare only the mode, not the path."""
        return super().diff(_id, _olds, {key: value for key, value in _news.items() if key != "path"})

    @explain_os_errors
    def create(self, props: Mapping[str, str]) -> CreateResult:
        """Make the directory, or use an existing empty directory. Raises Refused for a directory with entries."""
        path = Path(props["path"])
        refuse_foreign(path, set(), f"set `existing: {path}` on the bucket to use the directory as it is")
        make_private(path)
        return CreateResult(str(path), {"path": str(path), "mode": props["mode"]})

    def read(self, id_: str, props: Mapping[str, str]) -> ReadResult:
        """Return the directory's current mode. Return no resource if the directory does not exist."""
        path = Path(id_)
        if not path.is_dir():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "mode": f"{stat.S_IMODE(path.stat().st_mode):04o}"})

    @explain_os_errors
    def update(self, _id: str, _olds: Mapping[str, str], _news: Mapping[str, str]) -> UpdateResult:
        """Restore the mode."""
        make_private(Path(_id))
        return UpdateResult({"path": _id, "mode": _news["mode"]})

    @explain_os_errors
    def delete(self, _id: str, _props: Mapping[str, str]) -> None:
        """Remove the directory with everything in it."""
        remove_tree(Path(_id))


class PoolProvider(_OnDisk):
    """A pool: a directory with pool.json, which submitters read (docs/local-pool.md). Inputs: path, content (of pool.json)."""

    @explain_os_errors
    def create(self, props: Mapping[str, str]) -> CreateResult:
        """Make the directory, or use an existing directory with only a pool's files, for example after an interrupted create."""
        path = Path(props["path"])
        if not (path / "pool.json").is_file():
            refuse_foreign(path, _POOL_ENTRIES, "set `local:root` to another directory")
        return CreateResult(str(path), self._write(path, props["content"]))

    def read(self, id_: str, props: Mapping[str, str]) -> ReadResult:
        """Return the current content of pool.json, or no resource if the file does not exist."""
        file = Path(id_) / "pool.json"
        if not file.is_file():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "content": file.read_text(errors="replace")})

    @explain_os_errors
    def update(self, _id: str, _olds: Mapping[str, str], _news: Mapping[str, str]) -> UpdateResult:
        """Rewrite pool.json. Raises Refused if the new content lacks a node that a running job uses."""
        return UpdateResult(self._write(Path(_id), _news["content"]))

    @explain_os_errors
    def delete(self, _id: str, _props: Mapping[str, str]) -> None:
        """Remove the directory. Raises Refused while a job runs on the pool."""
        path = Path(_id)
        if path.is_dir():
            with locked(path):
                _refuse_live(path, _running(path))
                (path / "pool.json").unlink(missing_ok=True)  # a process that waits for the lock must not find a pool afterwards
                remove_tree(path)

    def _write(self, path: Path, content: str) -> dict[str, str]:
        make_private(path)
        with locked(path):
            nodes = len(json.loads(content)["nodes"])
            _refuse_live(path, (lease for lease in _running(path) if max(lease.nodes, default=0) >= nodes))
            make_private(path / "leases")
            write(path / "pool.json", content)
        return {"path": str(path), "content": content}


class TargetsProvider(_OnDisk):
    """targets.json in the run bucket. Inputs: path, content.

    Pulumi deletes this resource before the buckets and pools. The provider therefore refuses the deletion while a running job uses them.
    """

    @explain_os_errors
    def create(self, props: Mapping[str, str]) -> CreateResult:
        """Write the file. Raises Refused if the file belongs to another stack."""
        path, content = Path(props["path"]), props["content"]
        others = _stacks(path.read_text(errors="replace")) - _stacks(content) if path.is_file() else set()
        if others:
            raise Refused(
                f"{path}: the run bucket belongs to another stack, got {', '.join(sorted(others))}; "
                "give this stack another bucket with `jobs: write`"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
        return CreateResult(str(path), {"path": str(path), "content": content})

    def read(self, id_: str, props: Mapping[str, str]) -> ReadResult:
        """Return the file's current content, or no resource if it does not exist."""
        path = Path(id_)
        if not path.is_file():
            return ReadResult(None, {})
        return ReadResult(id_, {"path": id_, "content": path.read_text(errors="replace")})

    @explain_os_errors
    def update(self, _id: str, _olds: Mapping[str, str], _news: Mapping[str, str]) -> UpdateResult:
        """Rewrite the file. Raises Refused if the new content lacks a pool with a running job, or a bucket of its target."""
        path, content = Path(_id), _news["content"]
        _refuse_orphans(_parsed(_olds["content"]), _parsed(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
        return UpdateResult({"path": _id, "content": content})

    @explain_os_errors
    def delete(self, _id: str, _props: Mapping[str, str]) -> None:
        """Remove the file. Raises Refused while a job runs on one of the pools."""
        path = Path(_id)
        _refuse_orphans(_parsed(_props["content"]), {})
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: runs and code of earlier jobs
            path.parent.rmdir()


def _refuse_live(path: Path, leases: Iterable[Lease]) -> None:
    lines = [
        f"run {lease.run_id} (pid {lease.pid}) uses {_node_names(lease.nodes)}: "
        f"wait for it, or stop it with `gpuyard cancel {lease.run_id}`"
        for lease in leases
    ]
    if lines:
        raise Refused(f"pool {path.name} is in use, nothing was changed. " + "; ".join(lines))


def _node_names(nodes: Sequence[int]) -> str:
    return f"{'node' if len(nodes) == 1 else 'nodes'} {', '.join(map(str, nodes))}"


def _refuse_orphans(olds: Mapping[str, _Target], news: Mapping[str, _Target]) -> None:
    """Raise Refused if a pool with a running job is removed, gets another directory or loses a bucket."""
    for pool, old in olds.items():
        new = news.get(pool)
        kept = new is not None and old["buckets"].items() <= new["buckets"].items() and old["pool_dir"] == new["pool_dir"]
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


def _parsed(content: str) -> dict[str, _Target]:
    """Return the targets in a file, or {} if the file is not valid JSON."""
    try:
        data = json.loads(content)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
