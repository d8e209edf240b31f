"""The log view through which submitters read the logs of jobs, and no other log of the project."""

from __future__ import annotations

import pulumi
from pulumi_gcp import logging

from ..base import this_stack
from ..naming import job_prefix
from .identity import Identity
from .project import GcpComponent, ProjectLookup
from .roles import READ_LOG_VIEW

__all__ = ["make_log_view"]

# A view can select by resource type, not by a job's labels: cloud.google.com/logging/docs/logs-views, read on 2026-12-01
_JOBS = 'resource.type = "ml_job"'
_BUCKET, _LOCATION = "_Default", "global"  # where Cloud Logging puts the logs of jobs


def make_log_view(parent: GcpComponent, reader: Identity, project: ProjectLookup) -> pulumi.Output[str]:
    """Make a view of the logs of all training jobs in the project, and let `reader` read it. Return the view's full name."""
    place = {"parent": project.id.apply(lambda name: f"projects/{name}"), "location": _LOCATION, "bucket": _BUCKET}
    view = logging.LogView(
        parent.child_name("logs"),
        name=f"{job_prefix(this_stack())}{parent.logical_name}",
        filter=_JOBS,
        description=f"logs of training jobs, for the submitters of {this_stack()}",
        opts=parent.child_options(),
        **place,
    )
    grant = logging.LogViewIamMember(
        parent.child_name("submitter-reads-logs"),
        name=view.name,
        role=READ_LOG_VIEW,
        member=reader.member,
        opts=parent.child_options(),
        **place,
    )
    known = pulumi.Output.all(place["parent"], view.name, grant.id)
    return known.apply(lambda found: f"{found[0]}/locations/{_LOCATION}/buckets/{_BUCKET}/views/{found[1]}")
