"""A bucket of an Azure yard: a private container in its own storage account, or an existing container that stays unchanged."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, Self

import pulumi
import pulumi_azure_native as az

from ...plain_data import PlainDict, PlainMapping
from ..base import Problems, Tags, after, validate_spec
from ..bucket_base import NamespacedBucketBase
from ..spec import BucketSpec
from ..spec.fields import INTERNET
from .account import AzureComponent, ResourceGroup, group_problems
from .bucket_rules import account_settings, blob_settings, container_id_problems, lifecycle, split_container_id
from .key import EncryptionKey
from .names import account_name, container_name
from .private_dns import BUCKET_SUBRESOURCES

__all__ = ["Bucket", "private_account"]


class Bucket(NamespacedBucketBase[EncryptionKey], AzureComponent):
    """A private container: only Entra identities have access, over TLS 1.2, from the yard's network and from the sources in `open_to`.

    Azure encrypts it twice: in the storage service with `key` or Microsoft's key, and in the infrastructure with Microsoft's key. Deleted
    blobs can be restored for some days (bucket_rules.py has the numbers); in a flat namespace, overwritten blobs too. Current blobs never
    expire. The bucket has its own account and resource group, so it can outlive the yard. `adopt` uses an existing container and never
    changes it.
    """

    _existing_problems = staticmethod(container_id_problems)
    _output_names = ("name", "url", "id", "key_uri")
    id: pulumi.Output[str]
    """Resource id of the container, the scope of role assignments."""
    account_id: pulumi.Output[str]
    """Resource id of the storage account, the target of private endpoints."""
    account_key: Hashable
    """Key of the storage account, equal for buckets in the same account. It is known in every preview, unlike the account's id."""
    key_uri: pulumi.Output[str] | None
    """The customer-managed key. None: Microsoft's key, or an adopted bucket."""
    open_to: list[str] | None
    """Sources with access, in addition to the yard's network. None: an adopted bucket without `open_to`."""
    needs_private_endpoints: bool
    """Whether pools reach the bucket by private endpoints. False for an adopted bucket without `open_to`, or with `internet` in it."""
    subresources: tuple[str, ...]
    """Subresources that clusters reach through private endpoints: blob; with a hierarchical namespace also dfs."""

    def __init__(
        self,
        name: str,
        spec: BucketSpec | PlainMapping | None = None,
        *,
        key: EncryptionKey | None = None,
        namespace: Literal["flat", "hierarchical"] = "flat",
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the bucket. `spec` defaults to `on_destroy: keep` and to no access from outside the network.

        `namespace`: flat (default) keeps versions, so that overwritten blobs can be restored. hierarchical has real directories, which are
        renamed in one step, and no versions. The namespace cannot be changed later. `key`: default Microsoft's key. `resource_group`: the
        name of an existing group (default: a new group, kept with the bucket).
        """
        self._given_group = resource_group
        super().__init__(name, spec, namespace=namespace, key=key, tags=tags, opts=opts)

    def _problems(self, name: str) -> Problems:
        return [*super()._problems(name), *group_problems(self._given_group)]

    def _props(self, spec: BucketSpec) -> PlainMapping:
        return {**spec.model_dump(), "namespace": self._namespace}

    def _make(self, spec: BucketSpec) -> None:
        """Make a storage account and the container in it."""
        self.use_group(self._given_group)
        name, key, flat = self.logical_name, self._key, self._namespace == "flat"
        self.open_to, self.account_key, self.needs_private_endpoints = list(spec.open_to), self, True
        self.subresources = BUCKET_SUBRESOURCES[:1] if flat else BUCKET_SUBRESOURCES
        made = private_account(self, "account", name, self.open_to, key, hierarchical=not flat)
        container = az.storage.BlobContainer(
            self.child_name("container"),
            resource_group_name=self.group.name,
            account_name=made.name,
            container_name=container_name(name),
            public_access="None",
            opts=self.child_options(ignore_changes=["containerName"]),  # a bucket renamed with an alias keeps its container
        )
        guards = [
            self._blobs(made.name, flat),
            self._lifecycle(made.name, container.name.apply(lambda known: lifecycle(known, flat))),
        ]
        safe = after(container.name, [guard.id for guard in guards])
        self._expose(after(made.name, [container.id]), safe, container.id, made.id, key.uri if key else None)

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        bucket: pulumi.Input[str],
        open_to: Sequence[str] | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Self:
        """Use an existing container: jobs get permissions on it, and the container does not change.

        `bucket`: its resource id, `/subscriptions/.../storageAccounts/ACCOUNT/blobServices/default/containers/CONTAINER`, the scope of role
        assignments. `open_to`: the sources that the account's firewall admits today. If `internet` is not among them, the yard makes
        private endpoints to the account. Default: unknown, so the yard makes none. To adopt two containers of one account, give their ids
        as text, not as outputs: a network can have only one private endpoint to an account. The run bucket's `open_to` also applies to the
        workspace's storage and to the registry; by default only the pools' networks can reach them.
        """
        known_now = container_id_problems(bucket) if isinstance(bucket, str) else []
        sources = validate_spec(BucketSpec, {"open_to": list(open_to or [])}, f"Bucket {name}", cls.cloud, known_now).open_to
        self, known = cls._register_existing(name, bucket, tags, opts)
        self.open_to = sources if open_to is not None else None
        self.needs_private_endpoints, self.subresources = open_to is not None and INTERNET not in sources, BUCKET_SUBRESOURCES[:1]
        self.account_key = split_container_id(bucket).account_id.lower() if isinstance(bucket, str) else self
        parts = known.apply(lambda found: split_container_id(found)._asdict())
        self._expose(parts["account"], parts["container"], known, parts["account_id"], None)
        return self._register()

    def _expose(
        self,
        account: pulumi.Output[str],
        container: pulumi.Output[str],
        container_id: pulumi.Output[str],
        account_id: pulumi.Output[str],
        key_uri: pulumi.Output[str] | None,
    ) -> None:
        self.id, self.account_id, self.key_uri = container_id, pulumi.Output.from_input(account_id), key_uri
        self.name = pulumi.Output.concat(account, "/", container)
        self.url = pulumi.Output.concat("abfs://", container, "@", account, ".dfs.core.windows.net")

    def _blobs(self, account: pulumi.Output[str], versions: bool) -> az.storage.BlobServiceProperties:
        return az.storage.BlobServiceProperties(
            self.child_name("blobs"),
            resource_group_name=self.group.name,
            account_name=account,
            blob_services_name="default",
            opts=self.child_options(),
            **blob_settings(versions),
        )

    def _lifecycle(self, account: pulumi.Output[str], rules: pulumi.Output[list[PlainDict]]) -> az.storage.ManagementPolicy:
        return az.storage.ManagementPolicy(
            self.child_name("lifecycle"),
            resource_group_name=self.group.name,
            account_name=account,
            management_policy_name="default",
            policy={"rules": rules},
            opts=self.child_options(),
        )


def private_account(
    parent: AzureComponent, suffix: str, name: str, open_to: Sequence[str], key: EncryptionKey | None, *, hierarchical: bool
) -> az.storage.StorageAccount:
    """Make a storage account that only Entra identities have access to. Its name is globally unique."""
    under = {"vault_uri": key.vault_uri, "key_name": key.key_name, "user_id": key.user_id} if key else None
    more = {"identity": {"type": "UserAssigned", "user_assigned_identities": [key.user_id]}} if key else {}
    return az.storage.StorageAccount(
        parent.child_name(suffix),
        resource_group_name=parent.group.name,
        account_name=parent.group.id.apply(lambda group: account_name(group, name)),
        is_hns_enabled=hierarchical,
        tags=parent.azure_tags(),
        opts=parent.child_options(ignore_changes=["accountName"]),  # a bucket renamed with an alias keeps its account
        **account_settings(open_to, under),
        **more,
    )
