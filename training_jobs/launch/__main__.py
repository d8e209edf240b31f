"""A node's life: run.json -> meet -> claim the attempt -> secrets -> setup -> preflight -> run -> node result -> exit code.

When another node is lost and the service starts lost nodes again (GPUYARD_RETURN_S), those that are left meet it anew: the next attempt.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from . import objects as files
from .control_channel import Meeting
from .hook import BAD_CONFIG, RESUMABLE
from .node import Node
from .node_exit import IO_ERROR, OUT_OF_TIME, EndedError
from .preemption.stop_request import Notice
from .preemption.watcher import Watcher, watcher
from .time_budget import left_s
from .timestamps import stamped
from .topology import ROWS, Place, place

_MEETING_TIMEOUT_S = 900.0


def main() -> int:
    """Live the node's life; the exit code of the process."""
    with stamped(os.environ):
        return _life()


def _life() -> int:
    work = Path(os.environ.get("GPUYARD_WORKDIR") or os.getcwd()).resolve()
    state = work / ".state"
    state.mkdir(exist_ok=True)
    notice = Notice(state / "stop", float(os.environ.get("GPUYARD_GRACE_S", "30")))
    notice.listen()
    watch: Watcher | None = None
    try:
        where = place(os.environ)
        watch = watcher(os.environ, ROWS[os.environ["GPUYARD_SERVICE"]].cloud, notice, where.rank)
        if watch:
            watch.start()
        with contextlib.closing(watch) if watch else contextlib.nullcontext():
            return _attempts(where, work, notice, watch.lead_s if watch else notice.grace_s)
    except EndedError as end:
        print(f"gpuyard: {end}", file=sys.stderr, flush=True)
        return end.code
    except OSError as error:
        print(f"gpuyard: the run's storage fails: {error}", file=sys.stderr, flush=True)
        return IO_ERROR


def _attempts(where: Place, work: Path, notice: Notice, lead_s: float) -> int:
    """Live one attempt after the other, as long as one ends by the loss of a node that may come back."""
    run_url, index = os.environ["GPUYARD_RUN_URL"].rstrip("/"), int(os.environ.get("GPUYARD_SUBMISSION", "0"))
    returns_s = float(os.environ.get("GPUYARD_RETURN_S", "0"))
    submission, code = _submission(os.environ.get("GPUYARD_RECORD_URL", f"{run_url}/run.json"), index), work / "code"
    run_url = os.environ.get("GPUYARD_LEFT_URL", run_url)  # a container without a network leaves all in a folder of its own
    patience_s, began = _MEETING_TIMEOUT_S, time.time()
    while True:
        with contextlib.closing(Meeting(where, f"{os.environ['GPUYARD_RUN_ID']}.{index}", lambda: notice.asked)) as meeting:
            meeting.join(patience_s)
            agreed = meeting.agree(_order(run_url, index, submission, began) if where.rank == 0 else None)
            until = _until(agreed["left_s"])
            cwd, attempt = code if code.is_dir() else work, int(agreed["attempt"])
            ended = Node(where, submission["job"], attempt, run_url, work / ".state", cwd, meeting, notice, lead_s, until).live()
        if ended != RESUMABLE or not meeting.lost or notice.asked or not returns_s:
            return ended
        patience_s, began = returns_s, time.time()
        print(f"gpuyard: node(s) {sorted(meeting.lost)} may come back within {returns_s:.0f} s: waiting", flush=True)


def _submission(url: str, index: int) -> dict[str, Any]:
    record = files.read(url)
    if record is None:
        raise EndedError(BAD_CONFIG, f"there is no {url}: submit the job again")
    submissions = json.loads(record)["submissions"]
    if index >= len(submissions):
        raise EndedError(BAD_CONFIG, f"GPUYARD_SUBMISSION is {index}, run.json has {len(submissions)}")
    found: dict[str, Any] = submissions[index]
    return found


def _order(run_url: str, index: int, submission: dict[str, Any], began: float) -> dict[str, Any]:
    """What node 0 tells the others: the attempt, and the time that is left for it where earlier starts used some (null = all)."""
    attempt = claim(run_url, index, os.environ["GPUYARD_SERVICE"], submission, began)["attempt"]
    limit_s = os.environ.get("GPUYARD_LIMIT_S")
    again = limit_s is not None and attempt > int(submission["attempt"])
    return {"attempt": attempt, "left_s": left_s(float(limit_s or 0), run_url, index, attempt, time.time()) if again else None}


def _until(seconds: float | None) -> float:
    """When time is up, on the monotonic clock. Raises EndedError when it is already."""
    if seconds is not None and seconds <= 0:
        raise EndedError(OUT_OF_TIME, "earlier starts of the nodes used up the time limit")
    return math.inf if seconds is None else time.monotonic() + seconds


def claim(run_url: str, index: int, service: str, submission: dict[str, Any], began: float | None = None) -> dict[str, int]:
    """Take the next attempt number for good: two claims never share one, whoever makes them. `began`: this node's start, Unix time."""
    folder = f"{run_url}/attempts"
    number = int(submission["attempt"])
    while True:
        claimed = [int(name.removesuffix(".json")) for name in files.names(folder) if name.removesuffix(".json").isdigit()]
        number = max([number, *(other + 1 for other in claimed)])
        at, since = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)) for moment in (time.time(), began or time.time()))
        taken = {"attempt": number, "submission": index, "service": service, "nodes": submission["job"]["nodes"], "claimed_at": at}
        taken["began_at"] = since
        if files.create(f"{folder}/{number}.json", json.dumps(taken).encode()):
            return {"attempt": number}


if __name__ == "__main__":
    sys.exit(main())
