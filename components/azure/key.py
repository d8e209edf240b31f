"""A key in a vault of its own, with rotation, and the identity that storage accounts use it with."""

from __future__ import annotations

from typing import Any, Literal

import pulumi
import pulumi_azure_native as az

from ..base import Tags, after, refuse
from ..naming import name_problems
from .account import AzureComponent, ResourceGroup, account, group_problems
from .identity import Identity
from .names import vault_name
from .roles import CRYPTO_USER, Grant

_ALLOWED = ("keep", "delete")
_SOFT_DELETE_DAYS = 90  # the longest there is: a key that is gone takes every byte under it along
_LIFETIME = "P2Y"
_ROTATE_AFTER = "P1Y"


class EncryptionKey(AzureComponent):
    """A key that rotates each year, in a vault that roles alone open and the internet cannot reach.

    Purge protection and 90 days of soft delete: nobody, its owner included, can make it go at once.
    """

    uri: pulumi.Output[str]
    """Without a version: who is under it follows its rotation."""
    vault_uri: pulumi.Output[str]
    key_name: pulumi.Output[str]
    user_id: pulumi.Output[str]
    """Resource id of the identity that may use it; known once it may."""

    def __init__(
        self,
        name: str,
        *,
        on_destroy: Literal["keep", "delete"] = "keep",
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the key. `on_destroy` keep (default) leaves it when the yard goes; delete gives it back after Azure's 90 days.

        `resource_group`: the name of an existing group (default: one of its own). In an existing group a key of the same name cannot be
        made again for 90 days after its end: recover the vault (`az keyvault recover`).
        """
        wrong = [] if on_destroy in _ALLOWED else [f"on_destroy: got {on_destroy!r}, allowed: {' or '.join(_ALLOWED)}; use one of them"]
        refuse(f"EncryptionKey {name}", [*name_problems(name), *wrong, *group_problems(resource_group)])
        if on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        super().__init__("EncryptionKey", name, {"on_destroy": on_destroy}, tags, opts)
        self.use_group(resource_group)
        vault = self._vault()
        key = az.keyvault.Key(
            self.child_name("key"),
            resource_group_name=self.group.name,
            vault_name=vault.name,
            key_name="yard",  # of a vault of its own
            properties=key_properties(),
            tags=self.azure_tags(),
            opts=self.child_options(),
        )
        grants = [Grant("vault", CRYPTO_USER, vault.id)]
        user = Identity(self.child_name("user"), grants=grants, resource_group=self.group, opts=self.child_options())
        self.uri, self.key_name = pulumi.Output.from_input(key.key_uri), pulumi.Output.from_input(key.name)
        self.vault_uri = vault.properties.apply(lambda found: str(found.vault_uri))
        self.user_id = after(user.id, [key.id])
        self.register_outputs({"uri": self.uri, "user_id": self.user_id})

    def _vault(self) -> az.keyvault.Vault:
        return az.keyvault.Vault(
            self.child_name("vault"),
            resource_group_name=self.group.name,
            vault_name=self.group.id.apply(lambda group: vault_name(group, self.logical_name)),
            properties=vault_properties(account(self).tenant_id),
            tags=self.azure_tags(),
            opts=self.child_options(),
        )


def vault_properties(tenant_id: pulumi.Output[str]) -> dict[str, Any]:
    """A vault that roles open, that cannot be purged and that is reached by trusted services of Azure alone."""
    return {
        "tenant_id": tenant_id,
        "sku": {"family": "A", "name": "standard"},
        "enable_rbac_authorization": True,
        "enable_purge_protection": True,
        "enable_soft_delete": True,
        "soft_delete_retention_in_days": _SOFT_DELETE_DAYS,
        "public_network_access": "Disabled",
        # a storage account asks for its key as a trusted service
        "network_acls": {"default_action": "Deny", "bypass": "AzureServices"},
    }


def key_properties() -> dict[str, Any]:
    """An RSA key that wraps other keys and renews itself. Each version of a rotation lives two years; the first, made here, has no end.

    A policy's lifetime is not that of the current version: learn.microsoft.com/azure/key-vault/keys/how-to-configure-key-rotation
    """
    return {
        "kty": "RSA",
        "key_size": 3072,
        "key_ops": ["wrapKey", "unwrapKey"],
        "rotation_policy": {
            "attributes": {"expiry_time": _LIFETIME},
            "lifetime_actions": [{"action": {"type": "rotate"}, "trigger": {"time_after_create": _ROTATE_AFTER}}],
        },
    }
