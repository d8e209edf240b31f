"""Directories of a local yard: below `local:root` of the stack's configuration, by default .yard beside Pulumi.yaml."""

from __future__ import annotations

from pathlib import Path

import pulumi

from ...problems import Problem
from ..naming import directory_name

__all__ = ["bucket_path", "pool_path", "project_directory", "require_url_safe"]


def project_directory() -> Path:
    """Return the directory of Pulumi.yaml, which relative paths start from."""
    return Path(pulumi.get_root_directory()).absolute()


def bucket_path(name: str) -> str:
    """Return the directory of a bucket. Raises pulumi.RunError for a root that `require_url_safe` refuses."""
    return require_url_safe(str(_root() / "buckets" / directory_name(name)))


def pool_path(name: str) -> str:
    """Return the directory of a pool."""
    return str(_root() / "pools" / directory_name(name))


def require_url_safe(path: str) -> str:
    """Return a path that can be part of a file:// URL without escaping. Raises pulumi.RunError for other paths."""
    if set(path) & set("%#?"):
        fix = "set `local:root`, or the bucket's `existing`, to another directory"
        raise pulumi.RunError(str(Problem("bucket path", "contains %, # or ?, which file:// URLs do not allow", got=path, fix=fix)))
    return path


def _root() -> Path:
    return project_directory() / Path(pulumi.Config("local").get("root") or ".yard").expanduser()
