"""HTTP requests to Google's services that Cloud Scheduler sends for a pool."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pulumi
from pulumi_gcp import cloudscheduler

from ...plain_data import PlainDict
from ..expiry import End
from .identity import Identity
from .project import ProjectLookup

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["request_at_end", "request_every"]

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def request_at_end(pool: GpuPool, end: End, region: str, where: ProjectLookup, role: str, method: str, uri: pulumi.Output[str]) -> None:
    """Schedule one HTTP request at the pool's end, sent by a service account with no other permission.

    The schedule repeats every year on that day. This is harmless, because the pool already has zero nodes.
    """
    identity = Identity(
        pool.child_name("end"),
        purpose="takes the pool to zero nodes at its end",
        project_roles=(role,),
        project=where,
        opts=pool.child_options(),
    )
    cloudscheduler.Job(
        pool.child_name("end"),
        region=region,
        description=f"to zero nodes: {end.because}"[:500],
        schedule=f"{end.at.minute} {end.at.hour} {end.at.day} {end.at.month} *",
        time_zone="Etc/UTC",
        http_target=_target(method, uri, identity),
        retry_config={"retry_count": 5},
        opts=pool.child_options(),
    )


def request_every(pool: GpuPool, minutes: int, suffix: str, why: str, region: str, uri: pulumi.Output[str], sender: Identity) -> None:
    """Schedule a POST every `minutes`. `suffix`: last part of the schedule's name. `why`: its description."""
    cloudscheduler.Job(
        pool.child_name(suffix),
        region=region,
        description=why,
        schedule=f"*/{minutes} * * * *",
        time_zone="Etc/UTC",
        http_target=_target("POST", uri, sender),
        opts=pool.child_options(),
    )


def _target(method: str, uri: pulumi.Output[str], sender: Identity) -> PlainDict:
    body = {"body": base64.b64encode(b"{}").decode(), "headers": {"Content-Type": "application/json"}} if method == "POST" else {}
    return {"http_method": method, "uri": uri, **body, "oauth_token": {"service_account_email": sender.email, "scope": _SCOPE}}
