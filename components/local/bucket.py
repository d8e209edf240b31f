"""A bucket of a local yard: a directory with a file:// URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from ...problems import Problem, show
from ..base import Component, Tags, checked, refuse
from ..spec import BucketSpec
from .disk import BucketProvider
from .files import PRIVATE
from .root import bucket_path, project_directory, require_url_safe


class Bucket(Component):
    """A directory under `<local:root>/buckets`, mode 0700; or an existing one (`adopt`), never changed."""

    cloud = "local"
    name: pulumi.Output[str]
    """The directory's own name."""
    url: pulumi.Output[str]
    """Its fsspec URL: file:// and the path as it is: fsspec decodes nothing."""
    path: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: BucketSpec | Mapping[str, Any] | None = None,
        *,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the directory; `spec` defaults to keeping it and its data on destroy."""
        spec = checked(BucketSpec, spec, f"Bucket {name}", self.cloud)
        if spec.on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
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
        """Use an existing directory: jobs are told where it is, nothing is made, changed or destroyed."""
        self = cls.__new__(cls)
        Component.__init__(self, "Bucket", name, {"existing": bucket}, tags, opts)
        if isinstance(bucket, str):
            _existing(bucket, name)  # now, where a mistake ends the program with one line
        self._expose(pulumi.Output.from_input(bucket).apply(lambda path: _existing(path, name)))
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
        # the old one goes first: should the paths be one and the same, the new one is not removed with it
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True))
        super().__init__(BucketProvider(), name, {"path": path, "mode": PRIVATE}, opts)


def _existing(path: str, name: str) -> str:
    directory = project_directory() / Path(path).expanduser()
    if not directory.is_dir():
        fix = "create it, or change the path"
        refuse(f"Bucket {name}", [Problem("existing", "no such directory", show(path), "a directory that exists", fix)])
    return require_url_safe(str(directory))
