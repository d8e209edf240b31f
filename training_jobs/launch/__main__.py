"""Run one node of a job: read run.json, connect to the other nodes, claim an attempt and run it. All nodes exit with the same code.

If the service restarts lost nodes (GPUYARD_RETURN_S), the other nodes wait for them. Then all nodes start the next attempt.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TypedDict

from . import objects
from .control_channel import ControlChannel
from .descendants import adopt_orphans
from .hook import BAD_CONFIG, RESUMABLE
from .log_copy import log_copy
from .main_address import exchange_address
from .node import NodeAttempt
from .node_description import end_line
from .node_exit import IO_ERROR, OUT_OF_TIME, NodeExitError
from .output import node_output
from .preemption.stop_request import StopRequest
from .preemption.watcher import MetadataWatcher, make_watcher
from .run_record import SubmissionRecord, read_submission
from .time_budget import remaining_s
from .topology import SERVICES, NodePlacement, data_folder, read_placement

__all__ = ["claim_attempt", "main"]

_CONNECT_TIMEOUT_S = 900.0


class _AttemptPlan(TypedDict):
    """The plan that node 0 sends to all nodes. `left_s`: seconds until the time limit; None = the service itself enforces the limit."""

    attempt: int
    left_s: float | None


def main() -> int:
    """Run the node. Returns the exit code of the process."""
    copy = log_copy()
    try:
        with node_output(stamp=os.environ.get("GPUYARD_STAMP") == "1", copy=copy.add if copy else None):  # stamp: the log has no times
            code = _run_node()
            print(end_line(os.environ.get("GPUYARD_RUN_URL", ""), code), flush=True)
            return code
    finally:
        if copy is not None:
            copy.close()


def _run_node() -> int:
    adopt_orphans()
    work = Path(os.environ.get("GPUYARD_WORKDIR") or os.getcwd()).resolve()
    state = work / ".state"
    state.mkdir(exist_ok=True)
    stop_request = StopRequest(state / "stop", float(os.environ.get("GPUYARD_GRACE_S", "30")))
    stop_request.install_signal_handlers()
    watcher: MetadataWatcher | None = None
    try:
        placement = read_placement(os.environ)
        watcher = make_watcher(os.environ, SERVICES[os.environ["GPUYARD_SERVICE"]].cloud, stop_request, placement.rank)
        if watcher:
            watcher.start()
        with contextlib.closing(watcher) if watcher else contextlib.nullcontext():
            return _run_attempts(placement, work, stop_request, watcher.notice_s if watcher else stop_request.grace_s)
    except NodeExitError as error:
        print(f"gpuyard: {error}", file=sys.stderr, flush=True)
        return error.code
    except OSError as error:
        print(f"gpuyard: cannot read or write the run's storage: {error}", file=sys.stderr, flush=True)
        return IO_ERROR
    finally:
        if os.environ.get("GPUYARD_SERVICE") in SERVICES:  # a local pool keeps the folders of its jobs
            shutil.rmtree(data_folder(os.environ, state), ignore_errors=True)


def _run_attempts(placement: NodePlacement, work: Path, stop_request: StopRequest, notice_s: float) -> int:
    """Run an attempt. If it ends because a node was lost and the service may restart that node, run another attempt."""
    run_url, index = os.environ["GPUYARD_RUN_URL"].rstrip("/"), int(os.environ.get("GPUYARD_SUBMISSION", "0"))
    return_s, secret = float(os.environ.get("GPUYARD_RETURN_S", "0")), _channel_secret(placement)
    submission = read_submission(os.environ["GPUYARD_RECORD_URL"], index, os.environ.get("GPUYARD_JOB_DIGEST", ""))
    code_folder = work / "code"
    run_url = os.environ.get("GPUYARD_LEFT_URL", run_url)  # a container without a network writes to a local folder
    start = SERVICES[os.environ["GPUYARD_SERVICE"]].start
    if start is not None:
        url = f"{run_url}/output/main-{os.environ.get(start, index)}.json"
        placement = exchange_address(placement, url, _CONNECT_TIMEOUT_S, lambda: stop_request.requested)
    timeout_s, began = _CONNECT_TIMEOUT_S, time.time()
    while True:
        run_token = f"{os.environ['GPUYARD_RUN_ID']}.{index}"
        with contextlib.closing(ControlChannel(placement, run_token, secret, lambda: stop_request.requested)) as channel:
            channel.connect(timeout_s)
            plan = channel.barrier(_plan_attempt(run_url, index, submission, began) if placement.rank == 0 else None)
            deadline = _deadline(plan["left_s"])
            cwd, attempt = code_folder if code_folder.is_dir() else work, int(plan["attempt"])
            node = NodeAttempt(
                placement, submission["job"], attempt, run_url, work / ".state", cwd, channel, stop_request, notice_s, deadline
            )
            code = node.run()
        if code != RESUMABLE or not channel.lost or stop_request.requested or not return_s:
            return code
        timeout_s, began = return_s, time.time()
        print(f"gpuyard: waiting up to {return_s:.0f} s for node(s) {sorted(channel.lost)} to restart", flush=True)


def _channel_secret(placement: NodePlacement) -> str:
    """Remove the control channel's secret from the environment and return it, so that no process of the job inherits it."""
    secret = os.environ.pop("GPUYARD_CHANNEL_SECRET", "")
    if not secret and placement.nodes > 1:
        text = "GPUYARD_CHANNEL_SECRET: not set, but a job of several nodes needs it; set the same random text on all its nodes"
        raise NodeExitError(BAD_CONFIG, text)
    return secret


def _plan_attempt(run_url: str, index: int, submission: SubmissionRecord, began: float) -> _AttemptPlan:
    """Claim the next attempt on node 0, and compute the time limit that is left after earlier restarts."""
    attempt = claim_attempt(run_url, index, os.environ["GPUYARD_SERVICE"], submission, began)
    limit_s = os.environ.get("GPUYARD_LIMIT_S")
    left_s = None
    if limit_s is not None and attempt > int(submission["attempt"]):
        left_s = remaining_s(float(limit_s), run_url, index, attempt, time.time())
    return {"attempt": attempt, "left_s": left_s}


def _deadline(left_s: float | None) -> float:
    """Return the end of the time limit on the monotonic clock. Raises NodeExitError (124) if it has passed."""
    if left_s is not None and left_s <= 0:
        raise NodeExitError(OUT_OF_TIME, "earlier restarts of the nodes used up the job's time limit")
    return math.inf if left_s is None else time.monotonic() + left_s


def claim_attempt(run_url: str, index: int, service: str, submission: SubmissionRecord, began: float | None = None) -> int:
    """Claim the lowest free attempt number. Concurrent claims get different numbers. `began`: Unix time of the node's start; None = now."""
    folder = f"{run_url}/attempts"
    number, claimed = int(submission["attempt"]), set(objects.list_names(folder))
    while True:
        while f"{number}.json" in claimed:  # a number after a gap was planted by a job, and changes nothing
            number += 1
        claim = {
            "attempt": number, "submission": index, "service": service, "nodes": submission["job"]["nodes"],
            "claimed_at": _utc(time.time()), "began_at": _utc(began or time.time()),
        }  # fmt: skip
        if objects.create(f"{folder}/{number}.json", json.dumps(claim).encode()):
            return number
        number += 1


def _utc(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


if __name__ == "__main__":
    sys.exit(main())
