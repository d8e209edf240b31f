"""Which project and region the provider works in, and the base of every GCP component with its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pulumi
from pulumi_gcp import organizations

from ..base import Component, Tags, refuse, this_stack
from .labels import labels, tag_problems


@dataclass(frozen=True)
class ProjectRegion:
    """Project and region, known. A class, not a tuple: Pulumi would take a tuple inside an output apart."""

    project: str
    number: str
    region: str


def require_region(region: str | None) -> str:
    """The region, or a word on where to state it: else buckets and keys would be asked for in None, halfway through an `up`."""
    if not region:
        raise pulumi.RunError("gcp:region: got nothing, allowed: a region, such as us-central1; write it into the stack file")
    return region


class ProjectLookup:
    """Where a component's resources go. Asked of its own provider when first used, so written nowhere; unknown until Google answers.

    Make it once in a component: each has look-ups of its own.
    """

    def __init__(self, parent: Component) -> None:
        self._opts = pulumi.InvokeOptions(parent=parent)

    @cached_property
    def _found(self) -> pulumi.Output[Any]:
        """Without an id Google tells of the provider's own project."""
        return pulumi.Output.from_input(organizations.get_project_output(opts=self._opts))

    @cached_property
    def id(self) -> pulumi.Output[str]:
        """Such as acme-ml-prod."""
        return self._found.apply(lambda found: str(found.project_id))

    @cached_property
    def number(self) -> pulumi.Output[str]:
        """Google names its own service accounts by it."""
        return self._found.apply(lambda found: str(found.number))

    @cached_property
    def billing_account(self) -> pulumi.Output[str]:
        """What pays for the project."""
        return self._found.apply(lambda found: str(found.billing_account))

    @cached_property
    def region(self) -> pulumi.Output[str]:
        """The provider's."""
        client = organizations.get_client_config_output(opts=self._opts)
        return pulumi.Output.from_input(client.apply(lambda found: require_region(found.region)))

    @cached_property
    def project_region(self) -> pulumi.Output[ProjectRegion]:
        """The three together, for pure functions that build names."""
        return pulumi.Output.all(self.id, self.number, self.region).apply(lambda words: ProjectRegion(*words))


class GcpComponent(Component):
    """A component on GCP. Its children are labelled with `gcp_labels`."""

    cloud: ClassVar[str] = "gcp"

    def __init__(self, kind: str, name: str, props: Mapping[str, Any], tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        refuse(f"{kind} {name}", tag_problems(tags or {}))
        super().__init__(kind, name, props, tags, opts)

    def gcp_labels(self, child: str) -> dict[str, str]:
        """The labels of a child, named by its suffix."""
        return labels(self.tags, this_stack(), self.child_name(child))
