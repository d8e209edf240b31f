"""A bucket of a local yard: a new directory with a file:// URL, or an existing directory that stays unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from ...problems import Problem, show
from ..base import Problems
from ..bucket_base import BucketBase
from ..spec import BucketSpec
from .disk import BucketProvider
from .files import PRIVATE
from .root import bucket_path, project_directory, require_url_safe

__all__ = ["Bucket", "existing_problems"]


def existing_problems(bucket: Any) -> list[Problem]:
    """Return a problem if the directory does not exist."""
    if isinstance(bucket, str) and Path(_absolute(bucket)).is_dir():
        return []
    return [Problem("existing", "no such directory", show(bucket), "a directory that exists", "create the directory, or change the path")]


def _absolute(path: str) -> str:
    return str(project_directory() / Path(path).expanduser())


class Bucket(BucketBase):
    """A directory under `<local:root>/buckets`, mode 0700. `adopt` uses an existing directory and never changes it."""

    cloud = "local"
    _existing_problems = staticmethod(existing_problems)
    _output_names = ("id", "name", "url")
    path: pulumi.Output[str]

    def _problems(self, name: str) -> Problems:
        return ()  # every name is a valid directory

    def _make(self, spec: BucketSpec) -> None:
        """Make the directory."""
        self._expose(_Directory(self.child_name("directory"), bucket_path(self.logical_name), self.child_options()).path)

    def _use_existing(self, bucket: pulumi.Output[str]) -> None:
        """Set `name` and `url` for an existing directory. `bucket`: its path."""
        self._expose(bucket.apply(lambda path: require_url_safe(_absolute(path))))

    def _expose(self, path: pulumi.Output[str]) -> None:
        self.path = path
        self.url = path.apply(lambda text: f"file://{text}")
        self.name = path.apply(lambda text: Path(text).name)
        self.id = path


class _Directory(dynamic.Resource, module="gpuyard-local", name="Bucket"):
    path: pulumi.Output[str]

    def __init__(self, name: str, path: str, opts: pulumi.ResourceOptions) -> None:
        # the old directory is deleted first: with the same path, it would otherwise delete the new directory
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True))
        super().__init__(BucketProvider(), name, {"path": path, "mode": PRIVATE}, opts)
