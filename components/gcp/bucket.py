"""A Cloud Storage bucket that nobody but the yard can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_gcp import storage

from ..base import Tags, after, checked, refuse
from ..naming import name_problems
from ..spec import BucketSpec
from .bucket_rules import data_lifecycle, existing_problems, log_lifecycle
from .key import EncryptionKey
from .project import GcpComponent, ProjectLookup

# who writes the access logs of a bucket: cloud.google.com/storage/docs/access-logs
_LOG_WRITER = "group:cloud-storage-analytics@google.com"
_RECOVERABLE_S = 604_800


class Bucket(GcpComponent):
    """A bucket in the provider's region: uniform access, public access prevented, encrypted with a key, access logs in a sibling.

    Versions of objects are kept (7 days below gpuyard/runs/, 30 elsewhere); current objects never expire. Or, with `hierarchical`, folders
    that are renamed at once and take eight times the requests at first; Google excludes versions then. Soft delete is off: every dropped
    checkpoint would be paid for another week. It is on, for 7 days, where nothing else brings back what was deleted: hierarchical, kept.
    Or an existing bucket (`adopt`), never changed.
    """

    name: pulumi.Output[str]
    """Chosen by Pulumi: the logical name and some digits. Known once the bucket is safe to write to."""
    url: pulumi.Output[str]
    """Its fsspec URL: gs://name."""
    key_id: pulumi.Output[str] | None
    """The key its objects are under; None: an adopted bucket."""

    def __init__(
        self,
        name: str,
        spec: BucketSpec | Mapping[str, Any] | None = None,
        *,
        hierarchical: bool = False,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the bucket; `spec` defaults to keeping it and its data on destroy, `key` to one of its own.

        Kept are the bucket, its logs, its key and everything that guards them. With on_destroy delete all of it goes, data too.
        """
        spec = checked(BucketSpec, spec, f"Bucket {name}", self.cloud, name_problems(name))
        if spec.on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        super().__init__("Bucket", name, {**spec.model_dump(), "hierarchical": hierarchical}, tags, opts)
        where = ProjectLookup(self)
        if key is None:
            key = EncryptionKey(self.child_name("key"), on_destroy=spec.on_destroy, project=where, opts=self.child_options())
        deletes = spec.on_destroy == "delete"
        logs = self._private_bucket("access-logs", where.region, key, deletes, recoverable_s=0, lifecycle_rules=log_lifecycle())
        writer = storage.BucketIAMMember(
            self.child_name("access-logs-writer"),
            bucket=logs.name,
            role="roles/storage.objectCreator",
            member=_LOG_WRITER,
            opts=self.child_options(),
        )
        recoverable = hierarchical and not deletes
        layout = {"hierarchical_namespace": {"enabled": True}} if hierarchical else {"versioning": {"enabled": True}}
        data = self._private_bucket(
            "bucket",
            where.region,
            key,
            deletes,
            recoverable_s=_RECOVERABLE_S if recoverable else 0,
            lifecycle_rules=data_lifecycle(versions=not hierarchical),
            logging={"log_bucket": logs.name, "log_object_prefix": name},
            **layout,
        )
        self._expose(after(data.name, [pulumi.Output.from_input(writer.id)]), key.id)

    @classmethod
    def adopt(cls, name: str, *, bucket: pulumi.Input[str], tags: Tags | None = None, opts: pulumi.ResourceOptions | None = None) -> Bucket:
        """Use an existing bucket: jobs are granted what they need on it, its settings are not changed. `bucket` is its name.

        A key it is under needs no grant: Google's storage decrypts for whoever may read the object.
        """
        if isinstance(bucket, str):
            refuse(f"Bucket {name}", existing_problems(bucket))  # now, where a mistake ends the program with one line
        self = cls.__new__(cls)
        GcpComponent.__init__(self, "Bucket", name, {"existing": bucket}, tags, opts)
        self._expose(pulumi.Output.from_input(bucket).apply(lambda found: _existing(found, name)), None)
        return self

    def _expose(self, name: pulumi.Output[str], key_id: pulumi.Output[str] | None) -> None:
        self.name, self.key_id = name, key_id
        self.url = name.apply(lambda text: f"gs://{text}")
        self.register_outputs({"name": self.name, "url": self.url, "key_id": self.key_id})

    def _private_bucket(
        self, suffix: str, region: pulumi.Output[str], key: EncryptionKey, deletes: bool, *, recoverable_s: int, **more: Any
    ) -> storage.Bucket:
        return storage.Bucket(
            self.child_name(suffix),
            location=region,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            encryption={"default_kms_key_name": key.id},
            soft_delete_policy={"retention_duration_seconds": recoverable_s},
            force_destroy=deletes,
            labels=self.gcp_labels(suffix),
            opts=self.child_options(),
            **more,
        )


def _existing(bucket: Any, name: str) -> str:
    refuse(f"Bucket {name}", existing_problems(bucket))
    return str(bucket)
