"""Where a local yard lives: `local:root` of the stack's config, by default .yard beside Pulumi.yaml."""

from __future__ import annotations

from pathlib import Path

import pulumi

from ..naming import directory_name


def project_directory() -> Path:
    """The directory of Pulumi.yaml: relative paths start there, wherever `pulumi` was typed."""
    return Path(pulumi.get_root_directory()).absolute()


def bucket_path(name: str) -> str:
    """The directory of a bucket."""
    return require_url_safe(str(_root() / "buckets" / directory_name(name)))


def pool_path(name: str) -> str:
    """The directory of a pool."""
    return str(_root() / "pools" / directory_name(name))


def require_url_safe(path: str) -> str:
    """The path, where it means the same in a file:// URL to those who decode such URLs and to those who do not."""
    if set(path) & set("%#?"):
        raise pulumi.RunError(f"a bucket's path must not hold %, # or ?: got {path}; set `local:root` (or `existing`) to another")
    return path


def _root() -> Path:
    return project_directory() / Path(pulumi.Config("local").get("root") or ".yard").expanduser()
