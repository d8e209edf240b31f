"""A bucket of a local yard: a new directory with a file:// URL, or an existing directory that stays unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from ...plain_data import PlainMapping
from ...problems import Problem, show
from ..base import Tags
from ..bucket_base import BucketBase
from ..spec import BucketSpec
from .disk import BucketProvider
from .files import PRIVATE
from .root import bucket_path, project_directory, require_url_safe

__all__ = ["Bucket", "existing_problems"]


class Bucket(BucketBase):
    """A directory under `<local:root>/buckets`, mode 0700. `adopt` uses an existing directory and never changes it."""

    cloud = "local"
    path: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: BucketSpec | PlainMapping | None = None,
        *,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the directory. `spec` defaults to `on_destroy: keep`: the directory and its data stay when the yard is destroyed."""
        spec, opts = self._validate_spec(name, spec, opts)
        super().__init__("Bucket", name, {"on_destroy": spec.on_destroy}, tags, opts)
        directory = _Directory(self.child_name("directory"), bucket_path(name), self.child_options())
        self._expose(directory.path)

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        bucket: pulumi.Input[str],
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Bucket:
        """Use an existing directory, which gpuyard does not change or delete."""
        self, known = cls._register_existing(name, bucket, existing_problems, tags, opts)
        self._expose(known.apply(lambda path: require_url_safe(_absolute(path))))
        return self

    def _expose(self, path: pulumi.Output[str]) -> None:
        self.path = path
        self.url = path.apply(lambda text: f"file://{text}")
        self.name = path.apply(lambda text: Path(text).name)
        self.id = path
        self.register_outputs({"id": self.id, "name": self.name, "url": self.url})


class _Directory(dynamic.Resource, module="gpuyard-local", name="Bucket"):
    path: pulumi.Output[str]

    def __init__(self, name: str, path: str, opts: pulumi.ResourceOptions) -> None:
        # the old directory is deleted first: with the same path, it would otherwise delete the new directory
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True))
        super().__init__(BucketProvider(), name, {"path": path, "mode": PRIVATE}, opts)


def existing_problems(bucket: Any) -> list[Problem]:
    """Return a problem if there is no such directory."""
    if isinstance(bucket, str) and Path(_absolute(bucket)).is_dir():
        return []
    return [Problem("existing", "no such directory", show(bucket), "a directory that exists", "create it, or change the path")]


def _absolute(path: str) -> str:
    return str(project_directory() / Path(path).expanduser())
