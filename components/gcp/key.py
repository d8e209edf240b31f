"""A Cloud KMS key that rotates, and the Google services that may use it."""

from __future__ import annotations

from typing import Literal

import pulumi
from pulumi_gcp import kms, storage

from ...problems import Problem, show
from ..base import Tags, after, refuse
from ..naming import name_problems
from .project import GcpComponent, ProjectLookup
from .service_agents import AGENTS, Agent, Use, service_agent

__all__ = ["EncryptionKey", "Use"]

_ROTATION = "7776000s"  # 90 days
_ALLOWED = ("keep", "delete")


class EncryptionKey(GcpComponent):
    """A key ring with one key that rotates every 90 days. Only the Google services in `uses` may encrypt and decrypt with it.

    Google never deletes key rings and keys. `on_destroy: delete` destroys the key's versions: nobody can read the data encrypted with them.
    The key ring and the key without versions stay in the project and cost nothing (cloud.google.com/kms/docs/resource-hierarchy).
    """

    id: pulumi.Output[str]
    """projects/P/locations/L/keyRings/R/cryptoKeys/K. It is known after `services` may use the key."""
    services: tuple[Use, ...]
    """The Google services that may use the key."""

    def __init__(
        self,
        name: str,
        *,
        uses: tuple[Use, ...] = ("storage",),
        on_destroy: Literal["keep", "delete"] = "keep",
        project: ProjectLookup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the key in the provider's region.

        `on_destroy`: keep (default) keeps the key when the yard is destroyed. `project`: a look-up to reuse (default: a new one).
        """
        problems: list[Problem] = [*name_problems(name)]
        if on_destroy not in _ALLOWED:
            problems.append(Problem("on_destroy", "wrong value", got=show(on_destroy), allowed=" or ".join(_ALLOWED)))
        unknown = [use for use in uses if use not in AGENTS]
        problems += [Problem("uses", "unknown Google service", got=show(use), allowed=", ".join(AGENTS)) for use in unknown]
        refuse(f"EncryptionKey {name}", problems)
        if on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        super().__init__("EncryptionKey", name, {"uses": list(uses), "on_destroy": on_destroy}, tags, opts)
        self.services = uses
        project = project or ProjectLookup(self)
        ring = kms.KeyRing(self.child_name("ring"), location=project.region, opts=self.child_options())
        key = kms.CryptoKey(
            self.child_name("key"),
            key_ring=ring.id,
            purpose="ENCRYPT_DECRYPT",
            rotation_period=_ROTATION,
            destroy_scheduled_duration="2592000s",  # 30 days in which a destroyed version can be restored
            labels=self.gcp_labels("key"),
            opts=self.child_options(),
        )
        grants = [self._grant(use, key, project) for use in uses]
        self.id = after(key.id, grants)
        self.register_outputs({"id": self.id})

    def _grant(self, use: str, key: kms.CryptoKey, project: ProjectLookup) -> pulumi.Output[str]:
        agent = self._storage_agent(project) if use == "storage" else service_agent(self, use, project)
        grant = kms.CryptoKeyIAMMember(
            self.child_name(f"{use}-uses"),
            crypto_key_id=key.id,
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=agent.member,
            opts=self.child_options(depends_on=agent.made),
        )
        return pulumi.Output.from_input(grant.id)

    def _storage_agent(self, project: ProjectLookup) -> Agent:
        """Return Cloud Storage's agent, which Google makes at the first look-up."""
        found = storage.get_project_service_account_output(project=project.id, opts=pulumi.InvokeOptions(parent=self))
        return Agent(pulumi.Output.from_input(found.apply(lambda account: str(account.member))), [])
