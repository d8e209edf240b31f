"""User-assigned managed identities: their role assignments, and federated credentials for CI tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pulumi
import pulumi_azure_native as az

from ..base import Tags, after, refuse
from ..validation.submitters import ISSUER
from .account import AzureComponent, ResourceGroup, group_problems
from .roles import CustomRole, Grant, Role, assignment_name, definition_id, folder_condition, role_guid
from .subjects import exact_subject_problems

__all__ = ["Identity", "assign", "define_role"]

_AUDIENCE = "api://AzureADTokenExchange"


class Identity(AzureComponent):
    """A user-assigned managed identity with roles on single resources.

    `id` and `client_id` are known after the roles are assigned. Azure may need some more minutes until a role takes effect everywhere.
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
        """Make the identity.

        `grants`: roles to assign. `subjects`: exact subjects of the CI tokens that may use the identity (default: none, for identities of
        machines). `resource_group`: an existing group, by name or from another component (default: a new one).
        """
        refuse(f"Identity {name}", [*exact_subject_problems(subjects), *group_problems(resource_group)])
        props = {"roles": [grant.role.name for grant in grants], "subjects": list(subjects)}
        super().__init__("Identity", name, props, tags, opts)
        self.use_group(resource_group)
        identity = az.managedidentity.UserAssignedIdentity(
            self.child_name("identity"), resource_group_name=self.group.name, tags=self.azure_tags(), opts=self.child_options()
        )
        parts = [assign(self, grant, identity.principal_id) for grant in grants]
        before: list[az.managedidentity.FederatedIdentityCredential] = []
        for subject in subjects:  # one after the other: Azure refuses concurrent writes for one identity
            before = [self._add_subject(identity.name, subject, before)]
        parts += [last.id for last in before]
        self.id, self.client_id = after(identity.id, parts), after(identity.client_id, parts)
        self.principal_id = pulumi.Output.from_input(identity.principal_id)
        self.register_outputs({"id": self.id, "client_id": self.client_id, "principal_id": self.principal_id})

    def _add_subject(
        self, identity: pulumi.Output[str], subject: str, before: Sequence[pulumi.Resource]
    ) -> az.managedidentity.FederatedIdentityCredential:
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


def assign(
    parent: AzureComponent, grant: Grant, principal_id: pulumi.Input[str], principal_type: str = "ServicePrincipal"
) -> pulumi.Output[str]:
    """Assign a role to a principal. Returns the assignment's id. The default type is that of a managed identity.

    The assignment states the principal's type. Without the type, Azure looks up the principal, and may not find a new principal yet.
    """
    known = pulumi.Output.all(grant.scope, grant.role.guid, principal_id)
    assignment = az.authorization.RoleAssignment(
        parent.child_name(f"may-{grant.suffix}"),
        scope=grant.scope,
        role_definition_id=known.apply(lambda parts: definition_id(parts[0], parts[1])),
        role_assignment_name=known.apply(lambda parts: assignment_name(*parts)),
        principal_id=principal_id,
        principal_type=principal_type,
        description=grant.role.why,
        opts=parent.child_options(),
        **({"condition": folder_condition(grant.below), "condition_version": "2.0"} if grant.below else {}),
    )
    return pulumi.Output.from_input(assignment.id)


def define_role(parent: AzureComponent, suffix: str, role: CustomRole) -> Role:
    """Make a custom role that can be assigned in the parent's resource group. Its name is unique in the tenant, as Azure requires."""
    guid = parent.group.id.apply(lambda group: role_guid(group, parent.child_name(suffix)))
    made = az.authorization.RoleDefinition(
        parent.child_name(suffix),
        role_definition_id=guid,
        role_name=guid.apply(lambda unique: f"gpuyard: {role.name} ({parent.child_name(suffix)}, {unique[:8]})"),
        role_type="CustomRole",
        description=role.why,
        scope=parent.group.id,
        assignable_scopes=[parent.group.id],
        permissions=[{"actions": list(role.actions)}],
        opts=parent.child_options(),
    )
    return Role(role.name, after(guid, [made.id]), role.why)
