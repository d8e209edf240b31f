"""An identity: a service account, what it may do on the project, who may take it. It never has a key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pulumi
from pulumi_gcp import projects, serviceaccount

from ..base import Tags, after, this_stack
from ..naming import shorten
from .project import GcpComponent, ProjectLookup
from .roles import PROJECT_ROLES, custom_role_id

_LIMIT = 30  # of an account's id: cloud.google.com/iam/docs/service-accounts-create


class Identity(GcpComponent):
    """A service account. What it may do on single resources is granted where these are made; here is only what has no narrower place.

    `email` is known once the grants are in place, so whoever uses it finds an account that works.
    """

    email: pulumi.Output[str]
    member: pulumi.Output[str]
    """serviceAccount:EMAIL, for grants."""
    id: pulumi.Output[str]
    """projects/P/serviceAccounts/EMAIL."""
    unique_id: pulumi.Output[str]
    """Digits that no other account ever has, not even one of the same name later."""

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
        """Make it. `purpose`: in a few words, whose it is. `project_roles`: keys of roles.PROJECT_ROLES.

        `project` spares the look-up of the project to a caller that has done it.
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
        grants = [grant_on_project(self, key, self.member, project) for key in project_roles]
        self.unique_id = pulumi.Output.from_input(account.unique_id)
        self.id, self.email = pulumi.Output.from_input(account.name), after(account.email, grants)
        self.register_outputs({"email": self.email})


def account_id(stack: str, name: str) -> str:
    """Unlike for unlike stacks of one project.

    >>> account_id("gpuyard/prod", "h200")
    'h200-9464ae2c'
    """
    return shorten(name, f"{stack} {name}", _LIMIT)


def grant_on_project(parent: GcpComponent, key: str, member: pulumi.Output[str], project: ProjectLookup) -> pulumi.Output[str]:
    """Grant what only the whole project can: a role of Google's, or one of the yard's own with exactly the permissions it needs."""
    wanted = PROJECT_ROLES[key]
    role: pulumi.Input[str] = wanted.role
    if wanted.permissions:
        digest = hashlib.sha256(f"{this_stack()} {parent.child_name(key)}".encode()).hexdigest()[:8]
        made = projects.IAMCustomRole(
            parent.child_name(f"{key}-role"),
            role_id=custom_role_id(key, digest),
            title=f"gpuyard {key}",
            description=wanted.why,
            permissions=list(wanted.permissions),
            opts=parent.child_options(),
        )
        role = made.name
    grant = projects.IAMMember(parent.child_name(key), project=project.id, role=role, member=member, opts=parent.child_options())
    return pulumi.Output.from_input(grant.id)
