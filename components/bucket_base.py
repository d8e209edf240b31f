"""The part of a bucket that is the same on every cloud: validation, retention on destroy, adoption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pulumi

from ..plain_data import PlainMapping
from .base import Component, Problems, Tags, refuse, validate_spec, verify_input
from .spec import BucketSpec

__all__ = ["BucketBase"]


class BucketBase(Component):
    """A private object store; a cloud's Bucket makes the resources or adopts an existing store."""

    name: pulumi.Output[str]
    """Name of the store, known once the bucket is safe to write to."""
    url: pulumi.Output[str]
    """fsspec URL: s3://, gs://, abfs:// or file://."""

    def _validate_spec(
        self,
        name: str,
        spec: BucketSpec | PlainMapping | None,
        opts: pulumi.ResourceOptions | None,
        problems: Problems = (),
    ) -> tuple[BucketSpec, pulumi.ResourceOptions | None]:
        """Return the valid spec, and options that retain everything on destroy unless the spec says `on_destroy: delete`."""
        valid = validate_spec(BucketSpec, spec, f"Bucket {name}", self.cloud, problems)
        if valid.on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        return valid, opts

    @classmethod
    def _register_existing(
        cls,
        name: str,
        bucket: pulumi.Input[str],
        problems: Callable[[Any], Problems],
        tags: Tags | None,
        opts: pulumi.ResourceOptions | None,
        **props: object,
    ) -> tuple[Self, pulumi.Output[str]]:
        """Register an existing bucket; return the component and the bucket's identifier.

        `problems` checks the identifier: at once if it is a string, otherwise once the output is known.
        """
        subject = f"Bucket {name}"
        if isinstance(bucket, str):
            refuse(subject, problems(bucket))
        self = cls.__new__(cls)
        super(BucketBase, self).__init__("Bucket", name, {"existing": bucket, **props}, tags, opts)
        return self, verify_input(subject, bucket, problems)
