"""An encryption key in its own key vault, and the identity with which storage accounts use the key."""

from __future__ import annotations

from typing import Literal

import pulumi
import pulumi_azure_native as az

from ...problems import Problem, show
from ..base import Tags, after, refuse
from ..naming import name_problems
from .account import AzureComponent, ResourceGroup, account, group_problems
from .identity import Identity
from .names import vault_name
from .roles import CRYPTO_USER, Grant

__all__ = ["EncryptionKey", "key_properties", "vault_properties"]

_ALLOWED = ("keep", "delete")
_SOFT_DELETE_DAYS = 90  # the maximum, because without the key all data encrypted with it is lost
_LIFETIME = "P2Y"
_ROTATE_AFTER = "P1Y"


class EncryptionKey(AzureComponent):
    """A key that rotates every year, in a key vault with role-based access and without a public endpoint.

    With purge protection and 90 days of soft delete, nobody can delete the key at once, not even its owner.
    """

    uri: pulumi.Output[str]
    """The key's URI without a version, so resources that use it follow its rotation."""
    vault_uri: pulumi.Output[str]
    key_name: pulumi.Output[str]
    user_id: pulumi.Output[str]
    """Resource id of the identity that may use the key. It is known after the identity has its role."""

    def __init__(
        self,
        name: str,
        *,
        on_destroy: Literal["keep", "delete"] = "keep",
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the key.

        `on_destroy`: keep (default) keeps the key when the yard is destroyed; with delete, Azure deletes it 90 days later.
        `resource_group`: an existing group, by name or from another component (default: a new one). In an existing group, Azure refuses a
        new key of the same name during these 90 days: recover the vault with `az keyvault recover`.
        """
        problems: list[Problem] = [*name_problems(name), *group_problems(resource_group)]
        if on_destroy not in _ALLOWED:
            problems.append(Problem("on_destroy", "wrong value", got=show(on_destroy), allowed=" or ".join(_ALLOWED)))
        refuse(f"EncryptionKey {name}", problems)
        if on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        super().__init__("EncryptionKey", name, {"on_destroy": on_destroy}, tags, opts)
        self.use_group(resource_group)
        vault = self._vault()
        key = az.keyvault.Key(
            self.child_name("key"),
            resource_group_name=self.group.name,
            vault_name=vault.name,
            key_name="yard",  # the only key in its vault
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
            opts=self.child_options(ignore_changes=["vaultName"]),  # a key renamed with an alias keeps its vault
        )


def vault_properties(tenant_id: pulumi.Input[str]) -> dict[str, object]:
    """Return the properties of a vault with role-based access and purge protection. Only Azure's trusted services can connect."""
    return {
        "tenant_id": tenant_id,
        "sku": {"family": "A", "name": "standard"},
        "enable_rbac_authorization": True,
        "enable_purge_protection": True,
        "enable_soft_delete": True,
        "soft_delete_retention_in_days": _SOFT_DELETE_DAYS,
        "public_network_access": "Disabled",
        # storage accounts use their key as a trusted service
        "network_acls": {"default_action": "Deny", "bypass": "AzureServices"},
    }


def key_properties() -> dict[str, object]:
    """Return the properties of an RSA key that wraps other keys and rotates every year.

    Versions made by rotation expire after two years. The first version never expires, because the rotation policy does not apply to it:
    learn.microsoft.com/azure/key-vault/keys/how-to-configure-key-rotation
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
