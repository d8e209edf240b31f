"""Base classes of buckets on every cloud: constructor, validation, retention on destroy, adoption."""

from __future__ import annotations

from typing import Any, Generic, Literal, Self, TypeVar

import pulumi

from ..plain_data import PlainMapping
from ..problems import Problem, show
from .base import Component, Problems, Tags, refuse, validate_spec, verify_input
from .naming import name_problems
from .spec import BucketSpec

__all__ = ["BucketBase", "KeyedBucketBase", "NamespacedBucketBase", "namespace_problems"]

_KeyT = TypeVar("_KeyT", bound=Component)


class BucketBase(Component):
    """Base class of every bucket. A cloud's Bucket makes a private bucket in `_make` or adopts an existing bucket in `_use_existing`."""

    name: pulumi.Output[str]
    """Name of the bucket, known as soon as the bucket is safe to write to."""
    url: pulumi.Output[str]
    """fsspec URL: s3://, gs://, abfs:// or file://."""

    def __init__(
        self,
        name: str,
        spec: BucketSpec | PlainMapping | None = None,
        *,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the bucket. `spec` defaults to `on_destroy: keep`: the bucket and its data stay when the yard is destroyed."""
        valid = validate_spec(BucketSpec, spec, f"Bucket {name}", self.cloud, self._problems(name))
        if valid.on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        super().__init__("Bucket", name, self._props(valid), tags, opts)
        self._make(valid)
        self._register()

    @classmethod
    def adopt(cls, name: str, *, bucket: pulumi.Input[str], tags: Tags | None = None, opts: pulumi.ResourceOptions | None = None) -> Self:
        """Use an existing bucket: jobs get permissions on it, and the bucket does not change."""
        self, known = cls._register_existing(name, bucket, tags, opts)
        self._use_existing(known)
        return self._register()

    @classmethod
    def _register_existing(
        cls, name: str, bucket: pulumi.Input[str], tags: Tags | None, opts: pulumi.ResourceOptions | None, **props: object
    ) -> tuple[Self, pulumi.Output[str]]:
        """Register an existing bucket; return the component and the bucket's identifier.

        A string is checked at once, an output when it is known.
        """
        subject = f"Bucket {name}"
        if isinstance(bucket, str):
            refuse(subject, cls._existing_problems(bucket))
        self = cls.__new__(cls)
        super(BucketBase, self).__init__("Bucket", name, {"existing": bucket, **props}, tags, opts)
        return self, verify_input(subject, bucket, cls._existing_problems)

    def _problems(self, name: str) -> Problems:
        """Return the problems that BucketSpec cannot find."""
        return name_problems(name)

    def _props(self, spec: BucketSpec) -> PlainMapping:
        """Return the component's inputs for Pulumi's state."""
        return {"on_destroy": spec.on_destroy}

    def _make(self, spec: BucketSpec) -> None:
        """Make the bucket's resources and set its attributes."""
        raise NotImplementedError

    @staticmethod
    def _existing_problems(bucket: Any) -> Problems:
        """Return the problems of an existing bucket's identifier. None: the output of a StackReference does not exist."""
        raise NotImplementedError

    def _use_existing(self, bucket: pulumi.Output[str]) -> None:
        """Set the attributes from the identifier of an existing bucket."""
        raise NotImplementedError

    def _register(self) -> Self:
        self.register_outputs(self._outputs())
        return self


class KeyedBucketBase(BucketBase, Generic[_KeyT]):
    """Base class of a bucket whose encryption key the caller can pass."""

    _key: _KeyT | None

    def __init__(
        self,
        name: str,
        spec: BucketSpec | PlainMapping | None = None,
        *,
        key: _KeyT | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the bucket. `spec` defaults to `on_destroy: keep`, `key` to a new key.

        With keep, the bucket, its logs, its key and everything that protects them stay when the yard is destroyed.
        With delete, `pulumi destroy` deletes all of them, including the data.
        """
        self._key = key
        super().__init__(name, spec, tags=tags, opts=opts)


class NamespacedBucketBase(KeyedBucketBase[_KeyT]):
    """Base class of a bucket whose namespace is flat (with object versions) or hierarchical (real folders, no versions)."""

    _namespace: Literal["flat", "hierarchical"]

    def __init__(
        self,
        name: str,
        spec: BucketSpec | PlainMapping | None = None,
        *,
        namespace: Literal["flat", "hierarchical"] = "flat",
        key: _KeyT | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the bucket. `spec` defaults to `on_destroy: keep`, `key` to a new key.

        `namespace`: flat (default) keeps versions, so that overwritten objects can be restored. hierarchical has real folders, which are
        renamed in one step, and no versions. The namespace cannot be changed later.
        """
        self._namespace = namespace
        super().__init__(name, spec, key=key, tags=tags, opts=opts)

    def _problems(self, name: str) -> Problems:
        return [*super()._problems(name), *namespace_problems(self._namespace)]


def namespace_problems(namespace: object) -> Problems:
    """Return a problem if a bucket's namespace is neither flat nor hierarchical."""
    if namespace in ("flat", "hierarchical"):
        return []
    return [Problem("namespace", "unknown kind of namespace", show(namespace), "flat (with object versions) or hierarchical (without)")]
