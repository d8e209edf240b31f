"""Which project and region the provider works in, and the base of every GCP component with its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pulumi
from pulumi_gcp import organizations

from ..base import Component, Tags, refuse, this_stack
from .labels import labels, tag_problems


class Project(NamedTuple):
    """Where a component's resources go. Asked of the provider, so written nowhere; unknown until Google answers."""

    id: pulumi.Output[str]
    number: pulumi.Output[str]
    """Google names its own service accounts by it."""
    region: pulumi.Output[str]


@dataclass(frozen=True)
class Place:
    """Project and region, known. A class, not a tuple: Pulumi would take a tuple inside an output apart."""

    project: str
    number: str
    region: str


class GcpComponent(Component):
    """A component on GCP. Its children are labelled with `gcp_labels`."""

    cloud: ClassVar[str] = "gcp"

    def __init__(self, kind: str, name: str, props: Mapping[str, Any], tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        refuse(f"{kind} {name}", tag_problems(tags or {}))
        super().__init__(kind, name, props, tags, opts)

    def gcp_labels(self, child: str) -> dict[str, str]:
        """The labels of a child, named by its suffix."""
        return labels(self.tags, this_stack(), self.child_name(child))


def project(parent: Component) -> Project:
    """The project of the component's own provider. Ask once in a component: each call is two look-ups."""
    opts = pulumi.InvokeOptions(parent=parent)
    client = organizations.get_client_config_output(opts=opts)
    found = organizations.get_project_output(project_id=client.apply(lambda known: str(known.project)), opts=opts)
    return Project(
        id=client.apply(lambda known: str(known.project)),
        number=found.apply(lambda known: str(known.number)),
        region=client.apply(lambda known: str(known.region)),
    )


def place_of(where: Project) -> pulumi.Output[Place]:
    """The project's words together, for pure functions that build names."""
    return pulumi.Output.all(*where).apply(lambda words: Place(*words))
