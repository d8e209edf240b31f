"""What each cloud's metadata service says before it takes a machine away: one row per cloud, a pure parser per endpoint.

Whether a notice asks for a stop is a matter of its kind. The kinds in `warnings` are said and not acted upon, because
they do not say that the machine goes: a rebalance recommendation may be followed by hours of work, and to obey it
costs the whole gang a restart on capacity that may be gone; if it was right, the interruption notice follows, with two
minutes. A live migration or a freeze is survived. GPUYARD_NOTICE_WARNINGS=stop acts on them all the same; it pays
where an emergency checkpoint needs longer than the interruption notice gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True)
class Heard:
    """One notice. `deadline_s`: seconds until the machine is taken, None = not said. `event`: what an acknowledgement names."""

    kind: str
    deadline_s: float | None
    text: str
    event: str | None = None


Parser = Callable[[bytes, float, str], Heard | None]
"""The answer, the Unix time, this machine's name among the service's events ('' = unknown)."""


@dataclass(frozen=True)
class Cloud:
    """A metadata service. `lead_s` is what an interruption notice usually gives; parsers fill it in where nothing is said."""

    url: str
    headers: Mapping[str, str]
    endpoints: Mapping[str, Parser]
    every_s: float
    lead_s: float
    warnings: frozenset[str] = field(default=frozenset())
    token: str | None = None  # path of the session token, in the way of IMDSv2
    name: str | None = None  # path of this machine's name
    acknowledge: str | None = None  # where to post that the machine may go


def _aws_spot(body: bytes, now: float, me: str) -> Heard | None:
    said = json.loads(body)
    text = f"{said['action']} at {said['time']}"
    return Heard("interruption", min(_until(said["time"], now), 120.0), text)  # never more, whatever this machine's clock says


def _aws_rebalance(body: bytes, now: float, me: str) -> Heard | None:
    return Heard("rebalance", None, f"a raised risk of interruption, said at {json.loads(body)['noticeTime']}")


def _aws_maintenance(body: bytes, now: float, me: str) -> Heard | None:
    events = [event for event in json.loads(body) if event["State"] == "active"]
    return _first([Heard("maintenance", _until(e["NotBefore"], now), f"{e['Code']} not before {e['NotBefore']}") for e in events])


def _gcp_preempted(body: bytes, now: float, me: str) -> Heard | None:
    return Heard("interruption", 30.0, "preempted") if body.strip() == b"TRUE" else None


def _gcp_maintenance(body: bytes, now: float, me: str) -> Heard | None:
    said = body.strip().decode("ascii", "replace")
    if said == "TERMINATE_ON_HOST_MAINTENANCE":  # one hour for a machine with GPUs; for others a minute, then SIGTERM shortens it
        return Heard("maintenance", 3600.0, said)
    return Heard("migration", 60.0, said) if said == "MIGRATE_ON_HOST_MAINTENANCE" else None


def _azure_events(body: bytes, now: float, me: str) -> Heard | None:
    events = [event for event in json.loads(body)["Events"] if not me or me in event["Resources"]]
    return _first([_azure_event(event, now) for event in events if event["EventType"] in _AZURE_KINDS])


_AZURE_KINDS = {
    "Preempt": "interruption", "Terminate": "interruption", "Reboot": "maintenance", "Redeploy": "maintenance", "Freeze": "freeze",
}  # fmt: skip


def _azure_event(event: Mapping[str, Any], now: float) -> Heard:
    when = event.get("NotBefore") or ""  # empty once it has started
    deadline_s = _until(when, now) if when else None
    text = f"{event['EventType']} {'not before ' + when if when else event['EventStatus'].lower()}"
    return Heard(_AZURE_KINDS[event["EventType"]], deadline_s, text, str(event["EventId"]))


def _first(heard: list[Heard]) -> Heard | None:
    """The one to act upon: the soonest, and a freeze only when there is nothing else."""
    return min(heard, key=lambda h: (h.kind == "freeze", h.deadline_s or 0.0), default=None)


def _until(moment: str, now: float) -> float:
    """Seconds until a moment, in either of the forms the services use."""
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        at = parsedate_to_datetime(moment)
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)


CLOUDS: dict[str, Cloud] = {
    "aws": Cloud(
        url="http://169.254.169.254",
        headers={},
        endpoints={
            "/latest/meta-data/spot/instance-action": _aws_spot,
            "/latest/meta-data/events/recommendations/rebalance": _aws_rebalance,
            "/latest/meta-data/events/maintenance/scheduled": _aws_maintenance,
        },
        every_s=5.0,
        lead_s=120.0,
        warnings=frozenset({"rebalance"}),
        token="/latest/api/token",  # noqa: S106 a path
    ),
    "gcp": Cloud(
        url="http://169.254.169.254",
        headers={"Metadata-Flavor": "Google"},
        endpoints={
            "/computeMetadata/v1/instance/preempted": _gcp_preempted,
            "/computeMetadata/v1/instance/maintenance-event": _gcp_maintenance,
        },
        every_s=2.0,
        lead_s=30.0,
        warnings=frozenset({"migration"}),
    ),
    "azure": Cloud(
        url="http://169.254.169.254",
        headers={"Metadata": "true"},
        endpoints={"/metadata/scheduledevents?api-version=2020-07-01": _azure_events},
        every_s=2.0,
        lead_s=30.0,
        warnings=frozenset({"freeze"}),
        name="/metadata/instance/compute/name?api-version=2021-02-01&format=text",
        acknowledge="/metadata/scheduledevents?api-version=2020-07-01",
    ),
}
