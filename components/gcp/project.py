"""The provider's project and region, and the base class of GCP components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pulumi
from pulumi_gcp import organizations

from ...problems import Problem
from ..base import Component, Tags, refuse, this_stack
from .labels import labels, tag_problems

__all__ = ["GcpComponent", "ProjectLookup", "ProjectRegion", "require_billing_account", "require_region"]


@dataclass(frozen=True)
class ProjectRegion:
    """A project's id and number, and a region, as plain text. A dataclass, because Pulumi turns tuples inside outputs into lists."""

    project: str
    number: str
    region: str


def require_region(region: str | None) -> str:
    """Return the region. Raises pulumi.RunError without a region, because buckets and keys would fail later."""
    if not region:
        fix = "add it to the stack file, or type `pulumi config set gcp:region REGION`"
        raise pulumi.RunError(str(Problem("gcp:region", "no region is configured", allowed="a region, such as us-central1", fix=fix)))
    return region


def require_billing_account(account: str | None, project: str | None) -> str:
    """Return the billing account. Raises pulumi.RunError without an account, because Google would refuse the budget later.

    The account is also empty if the provider's credentials may not read it: github.com/hashicorp/terraform-provider-google,
    resource_google_project.go ignores a 403 of the Cloud Billing API (2026-12).
    """
    if not account:
        what = f"the billing account of the project {project} cannot be read, or the project has none"
        enable = "type `gcloud services enable cloudbilling.googleapis.com`"
        fix = f"{enable}, link a billing account, or remove the budget and set one in the console"
        raise pulumi.RunError(str(Problem("budget", what, allowed="a project with a billing account", fix=fix)))
    return account


class ProjectLookup:
    """Look-ups of the provider's project and region. Each look-up runs when a property first needs it.

    Make one instance for each component and reuse it, because every instance repeats the look-ups.
    """

    def __init__(self, parent: Component) -> None:
        self._opts = pulumi.InvokeOptions(parent=parent)

    @cached_property
    def _found(self) -> pulumi.Output[organizations.GetProjectResult]:
        """The provider's own project, from a look-up without an id."""
        return pulumi.Output.from_input(organizations.get_project_output(opts=self._opts))

    @cached_property
    def id(self) -> pulumi.Output[str]:
        """The project's id, such as acme-ml-prod."""
        return self._found.apply(lambda found: str(found.project_id))

    @cached_property
    def number(self) -> pulumi.Output[str]:
        """The project's number, which is part of the names of Google's service agents."""
        return self._found.apply(lambda found: str(found.number))

    @cached_property
    def billing_account(self) -> pulumi.Output[str]:
        """The id of the billing account that pays for the project."""
        return self._found.apply(lambda found: require_billing_account(found.billing_account, found.project_id))

    @cached_property
    def region(self) -> pulumi.Output[str]:
        """The provider's region."""
        client = organizations.get_client_config_output(opts=self._opts)
        return pulumi.Output.from_input(client.apply(lambda found: require_region(found.region)))

    @cached_property
    def project_region(self) -> pulumi.Output[ProjectRegion]:
        """Project id, number and region together, for pure functions that build names."""
        return pulumi.Output.all(self.id, self.number, self.region).apply(lambda known: ProjectRegion(*known))


class GcpComponent(Component):
    """Base class of GCP components. Their children get the labels of `gcp_labels`."""

    cloud: ClassVar[str] = "gcp"

    def __init__(self, kind: str, name: str, props: Mapping[str, object], tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        refuse(f"{kind} {name}", tag_problems(tags or {}))
        super().__init__(kind, name, props, tags, opts)

    def gcp_labels(self, child: str) -> dict[str, str]:
        """Return the labels of a child, which include its name."""
        return labels(self.tags, this_stack(), self.child_name(child))
