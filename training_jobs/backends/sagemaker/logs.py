"""The output of a training job's hosts, read from CloudWatch: streams `<job>/algo-<n>-...`, a new set of them after each restart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...errors import NotFoundError
from ..base import LogLine

Call = Callable[[str, Mapping[str, Any]], dict[str, Any]]
_QUIET_LOOKS = 2  # after the end: CloudWatch takes lines in with a delay


def lines(
    call: Call, group: str, job: str, hosts: int, *, node: int | None, since: float | None,
    over: Callable[[], bool] | None, pause: Callable[[], None],
) -> Iterator[LogLine]:  # fmt: skip
    """Lines in order of time within each look. `over`: whether the job has ended, asked while it is followed; None = one look."""
    ranks = {name: rank for rank, name in enumerate(sorted(f"algo-{number + 1}" for number in range(hosts)))}  # as launch sorts them
    tokens: dict[str, str | None] = {}
    quiet = 0
    while True:
        ended = over is None or over()  # asked first: what was said before the end is read below
        fresh = []
        for stream in _streams(call, group, job):
            host = re.match(r"algo-\d+", stream.removeprefix(f"{job}/"))
            rank = ranks.get(host[0]) if host else None
            if rank is not None and node in (None, rank):
                fresh += list(_new(call, group, stream, rank, since, tokens))
        yield from sorted(fresh, key=lambda line: (line.time, line.node))
        quiet = 0 if fresh else quiet + 1
        if over is None or (ended and quiet >= _QUIET_LOOKS):
            return
        pause()


def _streams(call: Call, group: str, job: str) -> list[str]:
    found: list[str] = []
    body: dict[str, Any] = {"logGroupName": group, "logStreamNamePrefix": f"{job}/"}
    while True:
        page = _unless_missing(call, "describe_log_streams", body)
        found += [stream["logStreamName"] for stream in page.get("logStreams", ())]
        if not page.get("nextToken"):
            return sorted(found)
        body["nextToken"] = page["nextToken"]


def _new(call: Call, group: str, stream: str, rank: int, since: float | None, tokens: dict[str, str | None]) -> Iterator[LogLine]:
    """What came since the token of the last look. The end is an answer with the token that was sent; an empty page is not."""
    while True:
        token = tokens.get(stream)
        body = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        if since is not None:
            body["startTime"] = int(since * 1000)
        page = _unless_missing(call, "get_log_events", body if token is None else {**body, "nextToken": token})
        for event in page.get("events", ()):
            yield LogLine(event["timestamp"] / 1000, rank, event["message"].rstrip("\r\n"))
        tokens[stream] = page.get("nextForwardToken", token)
        if tokens[stream] == token:
            return


def _unless_missing(call: Call, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An answer; empty where nothing was written yet."""
    try:
        return call(operation, body)
    except NotFoundError:
        return {}
