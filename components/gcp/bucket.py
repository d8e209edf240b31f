"""A bucket of a GCP yard: a private, encrypted and versioned Cloud Storage bucket, or an existing bucket that stays unchanged."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_gcp import storage

from ...plain_data import PlainDict, PlainMapping
from ..base import after
from ..bucket_base import NamespacedBucketBase
from ..spec import BucketSpec
from .bucket_rules import data_lifecycle, existing_problems, log_lifecycle
from .key import EncryptionKey
from .project import GcpComponent, ProjectLookup

__all__ = ["Bucket"]

# Google writes access logs as this group: cloud.google.com/storage/docs/access-logs
_LOG_WRITER = "group:cloud-storage-analytics@google.com"
_RECOVERABLE_S = 604_800


class Bucket(NamespacedBucketBase[EncryptionKey], GcpComponent):
    """A bucket in the provider's region: uniform access, no public access, encrypted with a key.

    Cloud Audit Logs record who changed the bucket. If the project has Data Access logs for Cloud Storage, they also record who read or
    wrote each object. With `access_logs`, Cloud Storage's own logs go to a second bucket. This needs a grant to a Google group.
    Organisations with restricted domains refuse the grant (iam.allowedPolicyMemberDomains, on by default since May 2024).

    Noncurrent versions of objects are kept for some days (bucket_rules.py has the numbers). Current objects never expire. In a hierarchical
    namespace, folders are renamed in one step and the bucket starts with eight times the request rate, but Google keeps no versions. Soft
    delete is off, because Google would bill every deleted checkpoint for another week. A hierarchical bucket with `on_destroy: keep` has 7
    days of soft delete, because nothing else can restore its objects. `adopt` uses an existing bucket and never changes it.
    """

    _existing_problems = staticmethod(existing_problems)
    _output_names = ("name", "url", "key_id")
    key_id: pulumi.Output[str] | None
    """The key of its objects. None: an adopted bucket."""

    def _props(self, spec: BucketSpec) -> PlainMapping:
        return {**spec.model_dump(), "hierarchical": self._namespace == "hierarchical"}

    def _make(self, spec: BucketSpec) -> None:
        """Make the bucket, a key if the caller gave none, and with `access_logs` the bucket of its access logs."""
        where, key, hierarchical = ProjectLookup(self), self._key, self._namespace == "hierarchical"
        if key is None:
            key = EncryptionKey(self.child_name("key"), on_destroy=spec.on_destroy, project=where, opts=self.child_options())
        deletes = spec.on_destroy == "delete"
        logging, logged = self._log_bucket(where, key, deletes) if spec.access_logs else ({}, [])
        recoverable = hierarchical and not deletes
        layout = {"hierarchical_namespace": {"enabled": True}} if hierarchical else {"versioning": {"enabled": True}}
        data = self._private_bucket(
            "bucket",
            where.region,
            key,
            deletes,
            recoverable_s=_RECOVERABLE_S if recoverable else 0,
            lifecycle_rules=data_lifecycle(versions=not hierarchical),
            **logging,
            **layout,
        )
        self._expose(after(data.name, logged), key.id)

    def _log_bucket(self, where: ProjectLookup, key: EncryptionKey, deletes: bool) -> tuple[PlainDict, list[pulumi.Output[str]]]:
        """Make the bucket for access logs. Return the data bucket's logging arguments, and the ids that the data bucket must wait for."""
        logs = self._private_bucket("access-logs", where.region, key, deletes, recoverable_s=0, lifecycle_rules=log_lifecycle())
        writer = storage.BucketIAMMember(
            self.child_name("access-logs-writer"),
            bucket=logs.name,
            role="roles/storage.objectCreator",
            member=_LOG_WRITER,
            opts=self.child_options(),
        )
        named = {"log_bucket": logs.name, "log_object_prefix": self.logical_name}
        return {"logging": named}, [pulumi.Output.from_input(writer.id)]

    def _use_existing(self, bucket: pulumi.Output[str]) -> None:
        """Set `name` and `url`. The key needs no grant: Cloud Storage decrypts an object for every identity that may read it."""
        self._expose(bucket, None)

    def _expose(self, name: pulumi.Output[str], key_id: pulumi.Output[str] | None) -> None:
        self.name, self.key_id = name, key_id
        self.url = name.apply(lambda text: f"gs://{text}")

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
