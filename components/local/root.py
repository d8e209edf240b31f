"""Directories of a local yard: below `local:root` of the stack's configuration, by default .yard beside Pulumi.yaml."""

from __future__ import annotations

from pathlib import Path

import pulumi

from ...problems import Problem
from ..naming import directory_name

__all__ = ["bucket_path", "pool_path", "project_directory", "require_url_safe"]


def project_directory() -> Path:
    """Return the directory of Pulumi.yaml. Relative paths start there."""
    return Path(pulumi.get_root_directory()).absolute()


def bucket_path(name: str) -> str:
    """Return the directory of a bucket. Raises pulumi.RunError if its path is not URL-safe (`require_url_safe`)."""
    return require_url_safe(str(_root() / "buckets" / directory_name(name)))


def pool_path(name: str) -> str:
    """Return the directory of a pool."""
    return str(_root() / "pools" / directory_name(name))


def require_url_safe(path: str) -> str:
    """Return the path if it can be part of a file:// URL without escaping. Raises pulumi.RunError for other paths."""
    if set(path) & set("%#?"):
        fix = "set `local:root`, or the bucket's `existing`, to another directory"
        raise pulumi.RunError(str(Problem("bucket path", "contains %, # or ?, which file:// URLs do not allow", got=path, fix=fix)))
    return path


def _root() -> Path:
    return project_directory() / Path(pulumi.Config("local").get("root") or ".yard").expanduser()
