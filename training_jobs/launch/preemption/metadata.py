"""Describes each cloud's metadata service: its endpoints, how often to poll them, and a parser for each endpoint.

A notice's kind decides whether the job stops. The kinds in `warnings` are only printed, because the machine may survive. It
survives a live migration and a freeze. After a rebalance recommendation it may run for hours, while a stop would restart all
nodes on capacity that may be gone. If the machine is really lost, an interruption notice of two minutes follows.
GPUYARD_NOTICE_WARNINGS=stop stops the job on these kinds too. Use it if a save takes longer than an interruption notice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["METADATA_SERVICES", "MetadataService", "Notice", "Parser"]


@dataclass(frozen=True)
class Notice:
    """One preemption notice. `deadline_s`: seconds until the machine is lost, None = unknown. `event`: id to acknowledge."""

    kind: str
    deadline_s: float | None
    text: str
    event: str | None = None


Parser = Callable[[bytes, float, str], Notice | None]
"""Function that parses a response. Arguments: body, Unix time, this machine's name in the service's events ('' = unknown)."""


@dataclass(frozen=True)
class MetadataService:
    """A metadata service. `notice_s`: usual seconds from a notice until the machine ends, used if a notice has no time."""

    url: str
    headers: Mapping[str, str]
    endpoints: Mapping[str, Parser]
    poll_every_s: float
    notice_s: float
    warnings: frozenset[str] = field(default=frozenset())
    token: str | None = None  # path of the session token (IMDSv2)
    name: str | None = None  # path of this machine's name
    acknowledge: str | None = None  # path of the POST request that lets the cloud stop the machine at once


def _aws_spot(body: bytes, now: float, own_name: str) -> Notice | None:
    answer = json.loads(body)
    text = f"{answer['action']} at {answer['time']}"
    return Notice("interruption", min(_until(answer["time"], now), 120.0), text)  # never more, even if this machine's clock is wrong


def _aws_rebalance(body: bytes, now: float, own_name: str) -> Notice | None:
    return Notice("rebalance", None, f"raised risk of interruption, noticed at {json.loads(body)['noticeTime']}")


def _aws_maintenance(body: bytes, now: float, own_name: str) -> Notice | None:
    events = [event for event in json.loads(body) if event["State"] == "active"]
    return _first([Notice("maintenance", _until(e["NotBefore"], now), f"{e['Code']} not before {e['NotBefore']}") for e in events])


def _gcp_preempted(body: bytes, now: float, own_name: str) -> Notice | None:
    return Notice("interruption", 30.0, "preempted") if body.strip() == b"TRUE" else None


def _gcp_maintenance(body: bytes, now: float, own_name: str) -> Notice | None:
    answer = body.strip().decode("ascii", "replace")
    if answer == "TERMINATE_ON_HOST_MAINTENANCE":  # GPU machines get an hour; other machines get a minute, then SIGTERM
        return Notice("maintenance", 3600.0, answer)
    return Notice("migration", 60.0, answer) if answer == "MIGRATE_ON_HOST_MAINTENANCE" else None


def _azure_events(body: bytes, now: float, own_name: str) -> Notice | None:
    events = [event for event in json.loads(body)["Events"] if not own_name or own_name in event["Resources"]]
    return _first([_azure_event(event, now) for event in events if event["EventType"] in _AZURE_KINDS])


_AZURE_KINDS = {
    "Preempt": "interruption", "Terminate": "interruption", "Reboot": "maintenance", "Redeploy": "maintenance", "Freeze": "freeze",
}  # fmt: skip


def _azure_event(event: Mapping[str, Any], now: float) -> Notice:
    when = event.get("NotBefore") or ""  # empty once the event has started
    deadline_s = _until(when, now) if when else None
    text = f"{event['EventType']} {'not before ' + when if when else event['EventStatus'].lower()}"
    return Notice(_AZURE_KINDS[event["EventType"]], deadline_s, text, str(event["EventId"]))


def _first(notices: list[Notice]) -> Notice | None:
    """Return the soonest notice. A freeze is returned only if there is no other notice."""
    return min(notices, key=lambda notice: (notice.kind == "freeze", notice.deadline_s or 0.0), default=None)


def _until(moment: str, now: float) -> float:
    """Return the seconds until a time in ISO 8601 or RFC 2822 format."""
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        at = parsedate_to_datetime(moment)
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)


METADATA_SERVICES: dict[str, MetadataService] = {
    "aws": MetadataService(
        url="http://169.254.169.254",
        headers={},
        endpoints={
            "/latest/meta-data/spot/instance-action": _aws_spot,
            "/latest/meta-data/events/recommendations/rebalance": _aws_rebalance,
            "/latest/meta-data/events/maintenance/scheduled": _aws_maintenance,
        },
        poll_every_s=5.0,
        notice_s=120.0,
        warnings=frozenset({"rebalance"}),
        token="/latest/api/token",  # noqa: S106 a path
    ),
    "gcp": MetadataService(
        url="http://169.254.169.254",
        headers={"Metadata-Flavor": "Google"},
        endpoints={
            "/computeMetadata/v1/instance/preempted": _gcp_preempted,
            "/computeMetadata/v1/instance/maintenance-event": _gcp_maintenance,
        },
        poll_every_s=2.0,
        notice_s=30.0,
        warnings=frozenset({"migration"}),
    ),
    "azure": MetadataService(
        url="http://169.254.169.254",
        headers={"Metadata": "true"},
        endpoints={"/metadata/scheduledevents?api-version=2020-07-01": _azure_events},
        poll_every_s=2.0,
        notice_s=30.0,
        warnings=frozenset({"freeze"}),
        name="/metadata/instance/compute/name?api-version=2021-02-01&format=text",
        acknowledge="/metadata/scheduledevents?api-version=2020-07-01",
    ),
}
