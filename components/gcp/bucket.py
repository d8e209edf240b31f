"""A bucket of a GCP yard: a private, encrypted and versioned one in Cloud Storage, or an existing one, never changed."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_gcp import storage

from ...plain_data import PlainMapping
from ..base import Tags, after
from ..bucket_base import BucketBase
from ..naming import name_problems
from ..spec import BucketSpec
from .bucket_rules import data_lifecycle, existing_problems, log_lifecycle
from .key import EncryptionKey
from .project import GcpComponent, ProjectLookup

__all__ = ["Bucket"]

# Google writes access logs as this group: cloud.google.com/storage/docs/access-logs
_LOG_WRITER = "group:cloud-storage-analytics@google.com"
_RECOVERABLE_S = 604_800


class Bucket(BucketBase, GcpComponent):
    """A bucket in the provider's region: uniform access, no public access, encrypted with a key, access logs in a second bucket.

    Noncurrent versions of objects are kept for some days (bucket_rules.py has the numbers). Current objects never expire. With
    `hierarchical`, folders are renamed in one step and the bucket starts with eight times the request rate, but Google keeps no versions.
    Soft delete is off, because it would bill every deleted checkpoint for another week. Only a hierarchical bucket with
    `on_destroy: keep` has 7 days of soft delete, because nothing else can restore its objects. `adopt` uses an existing bucket and never
    changes it.
    """

    key_id: pulumi.Output[str] | None
    """The key of its objects. None: an adopted bucket."""

    def __init__(
        self,
        name: str,
        spec: BucketSpec | PlainMapping | None = None,
        *,
        hierarchical: bool = False,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the bucket. `spec` defaults to `on_destroy: keep`, `key` to a key of its own.

        With keep, the bucket, its logs, its key and everything that protects them stay when the yard is destroyed.
        With delete, all of them are deleted, data included.
        """
        spec, opts = self._validate_spec(name, spec, opts, name_problems(name))
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
        """Use an existing bucket: jobs get rights to it, its settings are not changed. `bucket`: its name.

        Its key needs no grant: Cloud Storage decrypts an object for every identity that may read it.
        """
        self, known = cls._register_existing(name, bucket, existing_problems, tags, opts)
        self._expose(known, None)
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
