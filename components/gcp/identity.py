"""Service accounts without keys, and their roles on the project."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pulumi
from pulumi_gcp import projects, serviceaccount

from ..base import Tags, after, this_stack
from ..naming import shorten
from .project import GcpComponent, ProjectLookup
from .roles import PROJECT_ROLES, custom_role_id

__all__ = ["Identity", "account_id", "grant_on_project"]

_LIMIT = 30  # characters of an account's id: cloud.google.com/iam/docs/service-accounts-create


class Identity(GcpComponent):
    """A service account and its roles on the project. Roles on single resources are not part of it.

    It never has a key. `email` is known only after the roles are granted, so no resource uses the account without
    them.
    """

    email: pulumi.Output[str]
    member: pulumi.Output[str]
    """serviceAccount:EMAIL, as IAM policies name it."""
    id: pulumi.Output[str]
    """projects/P/serviceAccounts/EMAIL."""
    unique_id: pulumi.Output[str]
    """A number that Google never gives to another account, not even to a later one with the same email."""

    def __init__(
        self,
        name: str,
        *,
        purpose: str,
        project_roles: Sequence[str] = (),
        project: ProjectLookup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the service account.

        `purpose`: text for the account's description. `project_roles`: keys of roles.PROJECT_ROLES. `project`: a look-up to reuse (default:
        a new one).
        """
        super().__init__("Identity", name, {"purpose": purpose, "project_roles": list(project_roles)}, tags, opts)
        project = project or ProjectLookup(self)
        account = serviceaccount.Account(
            self.child_name("account"),
            account_id=account_id(this_stack(), name),
            display_name=f"gpuyard {this_stack()} {name}"[:100],
            description=purpose,
            opts=self.child_options(),
        )
        self.member = pulumi.Output.from_input(account.email).apply(lambda email: f"serviceAccount:{email}")
        self.unique_id = pulumi.Output.from_input(account.unique_id)
        grants = [grant_on_project(self, key, self.member, project, self.unique_id) for key in project_roles]
        self.id, self.email = pulumi.Output.from_input(account.name), after(account.email, grants)
        self.register_outputs({"email": self.email})


def account_id(stack: str, name: str) -> str:
    """Return the id of a service account. It contains a digest of the stack, because stacks can share a project.

    >>> account_id("gpuyard/prod", "h200")
    'h200-9464ae2c'
    """
    return shorten(name, f"{stack} {name}", _LIMIT)


def grant_on_project(
    parent: GcpComponent,
    key: str,
    member: pulumi.Output[str],
    project: ProjectLookup,
    salt: pulumi.Output[str],
    depends_on: Sequence[pulumi.Resource] = (),
) -> pulumi.Output[str]:
    """Grant a role on the project. `key`: its key in roles.PROJECT_ROLES. A role with `permissions` becomes a custom role.

    `salt`: part of the custom role's id. It must change when the yard is recreated, because Google blocks the id of a deleted role for 37
    days: cloud.google.com/iam/docs/creating-custom-roles#deleting-custom-role. Existing custom roles keep their ids.
    """
    wanted = PROJECT_ROLES[key]
    role: pulumi.Input[str] = wanted.role
    if wanted.permissions:
        text = f"{this_stack()} {parent.child_name(key)}"
        custom = projects.IAMCustomRole(
            parent.child_name(f"{key}-role"),
            role_id=salt.apply(lambda known: custom_role_id(key, hashlib.sha256(f"{text} {known}".encode()).hexdigest()[:8])),
            title=f"gpuyard {key}",
            description=wanted.why,
            permissions=list(wanted.permissions),
            opts=parent.child_options(ignore_changes=["role_id"]),
        )
        role = custom.name
    opts = parent.child_options(depends_on=list(depends_on))
    grant = projects.IAMMember(parent.child_name(key), project=project.id, role=role, member=member, opts=opts)
    return pulumi.Output.from_input(grant.id)
