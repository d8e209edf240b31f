"""A Cloud KMS key with rotation, for the services that are named."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import pulumi
from pulumi_gcp import kms, storage

from ..base import Tags, after, refuse
from ..naming import name_problems
from .project import GcpComponent, ProjectLookup

_ROTATION = "7776000s"  # 90 days
_ALLOWED = ("keep", "delete")
# Google's own accounts that encrypt on a project's behalf, by the project's number: cloud.google.com/iam/docs/service-agents
AGENTS: Mapping[str, str] = MappingProxyType(
    {
        "storage": "service-{number}@gs-project-accounts.iam.gserviceaccount.com",
        "compute": "service-{number}@compute-system.iam.gserviceaccount.com",
        "aiplatform": "service-{number}@gcp-sa-aiplatform.iam.gserviceaccount.com",
        "artifactregistry": "service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com",
    }
)
Use = Literal["storage", "compute", "aiplatform", "artifactregistry"]


class EncryptionKey(GcpComponent):
    """A key ring with one key that rotates every 90 days. Google's own services named in `uses` may encrypt with it, nobody else.

    Google deletes no key ring and no key: `on_destroy: delete` destroys the key's versions, after which nothing under it can be read;
    the empty names stay in the project and cost nothing (cloud.google.com/kms/docs/resource-hierarchy).
    """

    id: pulumi.Output[str]
    """projects/P/locations/L/keyRings/R/cryptoKeys/K. Known once the services may use it."""
    services: tuple[Use, ...]
    """Whose it is to encrypt with."""

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
        """Make the key in the provider's region. `on_destroy` keep (default) leaves it when the yard goes.

        `project` spares the look-up of the project to a caller that has done it.
        """
        problems = name_problems(name)
        if on_destroy not in _ALLOWED:
            problems.append(f"on_destroy: got {on_destroy!r}, allowed: {' or '.join(_ALLOWED)}; use one of them")
        problems += [f"uses: got {use!r}, allowed: {', '.join(AGENTS)}; use some of them" for use in uses if use not in AGENTS]
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
            destroy_scheduled_duration="2592000s",  # 30 days to change one's mind
            labels=self.gcp_labels("key"),
            opts=self.child_options(),
        )
        grants = [self._grant(use, key, project) for use in uses]
        self.id = after(key.id, grants)
        self.register_outputs({"id": self.id})

    def _grant(self, use: str, key: kms.CryptoKey, project: ProjectLookup) -> pulumi.Output[str]:
        member = project.number.apply(lambda found: f"serviceAccount:{AGENTS[use].format(number=found)}")
        if use == "storage":  # asked for, since Google makes this one when it is first asked for
            opts = pulumi.InvokeOptions(parent=self)
            member = storage.get_project_service_account_output(project=project.id, opts=opts).apply(lambda found: str(found.member))
        grant = kms.CryptoKeyIAMMember(
            self.child_name(f"{use}-uses"),
            crypto_key_id=key.id,
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=member,
            opts=self.child_options(),
        )
        return pulumi.Output.from_input(grant.id)
