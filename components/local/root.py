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
    return str(_root() / "buckets" / directory_name(name))


def pool_path(name: str) -> str:
    """The directory of a pool."""
    return str(_root() / "pools" / directory_name(name))


def _root() -> Path:
    return project_directory() / Path(pulumi.Config("local").get("root") or ".yard").expanduser()
