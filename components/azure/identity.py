"""An identity: a user-assigned managed identity, what it may do, and who may come as it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_azure_native as az

from ..base import Tags, after, refuse
from ..validation.submitters import ISSUER
from .account import AzureComponent, ResourceGroup, group_problems
from .roles import Grant, assignment_name, definition_id, folder_condition
from .subjects import exact_subject_problems

_AUDIENCE = "api://AzureADTokenExchange"


class Identity(AzureComponent):
    """A user-assigned identity with roles on single resources.

    The outputs are known once the roles are given, so whoever uses them finds an identity that works; Azure may take minutes more to
    spread a role.
    """

    id: pulumi.Output[str]
    client_id: pulumi.Output[str]
    principal_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        grants: Sequence[Grant] = (),
        subjects: Sequence[str] = (),
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the identity. `subjects`: the CI tokens that may come as it, each in full; default none: machines are given it.

        `resource_group`: the name of an existing group (default: one of its own).
        """
        refuse(f"Identity {name}", [*exact_subject_problems(subjects), *group_problems(resource_group)])
        props = {"roles": [grant.role.name for grant in grants], "subjects": list(subjects)}
        super().__init__("Identity", name, props, tags, opts)
        self.use_group(resource_group)
        made = az.managedidentity.UserAssignedIdentity(
            self.child_name("identity"), resource_group_name=self.group.name, tags=self.azure_tags(), opts=self.child_options()
        )
        parts = [assign(self, grant, made.principal_id) for grant in grants]
        before: list[Any] = []
        for subject in subjects:  # one after the other: Azure takes one at a time of an identity
            before = [self._let_in(made.name, subject, before)]
        parts += [last.id for last in before]
        self.id, self.client_id = after(made.id, parts), after(made.client_id, parts)
        self.principal_id = pulumi.Output.from_input(made.principal_id)
        self.register_outputs({"id": self.id, "client_id": self.client_id, "principal_id": self.principal_id})

    def _let_in(self, identity: pulumi.Output[str], subject: str, before: list[Any]) -> Any:
        suffix = f"subject-{hashlib.sha256(subject.encode()).hexdigest()[:8]}"
        return az.managedidentity.FederatedIdentityCredential(
            self.child_name(suffix),
            resource_group_name=self.group.name,
            resource_name_=identity,
            issuer=f"https://{ISSUER}",
            subject=subject,
            audiences=[_AUDIENCE],
            opts=self.child_options(depends_on=before),
        )


def assign(parent: AzureComponent, grant: Grant, principal_id: pulumi.Input[str]) -> pulumi.Output[str]:
    """Give a role. The kind of principal is said, or Azure would look for one that may not have spread yet."""
    known = pulumi.Output.all(grant.scope, principal_id)
    made = az.authorization.RoleAssignment(
        parent.child_name(f"may-{grant.suffix}"),
        scope=grant.scope,
        role_definition_id=pulumi.Output.from_input(grant.scope).apply(lambda scope: definition_id(scope, grant.role)),
        role_assignment_name=known.apply(lambda words: assignment_name(words[0], grant.role, words[1])),
        principal_id=principal_id,
        principal_type="ServicePrincipal",
        description=grant.role.why,
        opts=parent.child_options(),
        **({"condition": folder_condition(grant.below), "condition_version": "2.0"} if grant.below else {}),
    )
    return pulumi.Output.from_input(made.id)
