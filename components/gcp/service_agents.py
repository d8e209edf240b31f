"""Google's service agents: the accounts with which Google's services use a project's keys and networks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import pulumi
from pulumi_gcp import projects

from .project import GcpComponent, ProjectLookup

__all__ = ["AGENTS", "Agent", "Use", "service_agent"]

AGENTS: Mapping[str, str] = MappingProxyType(
    {
        "storage": "service-{number}@gs-project-accounts.iam.gserviceaccount.com",
        "compute": "service-{number}@compute-system.iam.gserviceaccount.com",
        "aiplatform": "service-{number}@gcp-sa-aiplatform.iam.gserviceaccount.com",
        "artifactregistry": "service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com",
    }
)
"""Service agents by service: cloud.google.com/iam/docs/service-agents. {number}: the project's number."""
Use = Literal["storage", "compute", "aiplatform", "artifactregistry"]
_MADE_AT_FIRST_USE = ("aiplatform", "artifactregistry")


class Agent(NamedTuple):
    """A service agent as IAM policies name it, and the resource that makes it. A grant to the agent depends on that resource."""

    member: pulumi.Output[str]
    made: list[pulumi.Resource]


def service_agent(parent: GcpComponent, use: str, where: ProjectLookup) -> Agent:
    """Return a service's agent.

    Google makes some agents only at the first use of the service and refuses earlier grants to them. This function makes these agents.
    cloud.google.com/iam/docs/create-service-agents (2026-12-01)
    """
    member = where.number.apply(lambda number: f"serviceAccount:{AGENTS[use].format(number=number)}")
    if use not in _MADE_AT_FIRST_USE:
        return Agent(member, [])
    made = projects.ServiceIdentity(
        parent.child_name(f"{use}-agent"), project=where.id, service=f"{use}.googleapis.com", opts=parent.child_options()
    )
    return Agent(member, [made])
