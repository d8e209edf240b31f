"""A node's life: run.json -> meet -> claim the attempt -> secrets -> setup -> preflight -> run -> node result -> exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from . import files
from .ended import IO_ERROR, EndedError
from .hook import BAD_CONFIG
from .meeting import Meeting
from .node import Node
from .notice import Notice
from .topology import ROWS, place
from .watch import Watcher, watcher

_MEETING_TIMEOUT_S = 900.0


def main() -> int:
    """Live the node's life; the exit code of the process."""
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
        run_url, index = os.environ["GPUYARD_RUN_URL"].rstrip("/"), int(os.environ.get("GPUYARD_SUBMISSION", "0"))
        submission = _submission(run_url, index)
        meeting = Meeting(where, f"{os.environ['GPUYARD_RUN_ID']}.{index}", lambda: notice.asked)
        meeting.join(_MEETING_TIMEOUT_S)
        claimed = claim(run_url, index, os.environ["GPUYARD_SERVICE"], submission) if where.rank == 0 else None
        attempt = int(meeting.agree(claimed)["attempt"])
    except EndedError as end:
        print(f"gpuyard: {end}", file=sys.stderr, flush=True)
        return end.code
    except OSError as error:
        print(f"gpuyard: the run's storage fails: {error}", file=sys.stderr, flush=True)
        return IO_ERROR
    code = work / "code"
    lead_s = watch.lead_s if watch else notice.grace_s
    with contextlib.closing(meeting), contextlib.closing(watch) if watch else contextlib.nullcontext():
        return Node(where, submission["job"], attempt, run_url, state, code if code.is_dir() else work, meeting, notice, lead_s).live()


def _submission(run_url: str, index: int) -> dict[str, Any]:
    record = files.read(f"{run_url}/run.json")
    if record is None:
        raise EndedError(BAD_CONFIG, f"there is no {run_url}/run.json: submit the job again")
    submissions = json.loads(record)["submissions"]
    if index >= len(submissions):
        raise EndedError(BAD_CONFIG, f"GPUYARD_SUBMISSION is {index}, run.json has {len(submissions)}")
    found: dict[str, Any] = submissions[index]
    return found


def claim(run_url: str, index: int, service: str, submission: dict[str, Any]) -> dict[str, int]:
    """Take the next attempt number for good: two claims never share one, whoever makes them."""
    folder = f"{run_url}/attempts"
    number = int(submission["attempt"])
    while True:
        claimed = [int(name.removesuffix(".json")) for name in files.names(folder) if name.removesuffix(".json").isdigit()]
        number = max([number, *(other + 1 for other in claimed)])
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        taken = {"attempt": number, "submission": index, "service": service, "nodes": submission["job"]["nodes"], "claimed_at": at}
        if files.create(f"{folder}/{number}.json", json.dumps(taken).encode()):
            return {"attempt": number}


if __name__ == "__main__":
    sys.exit(main())
