"""Watches a node's processes while they run: stop requests, lost nodes, the time limit and the progress file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict

from .agent_state import AgentState
from .control_channel import ControlChannel
from .hook import DONE, RESUMABLE
from .node_exit import NodeExitError
from .preemption.stop_request import StopRequest
from .processes import NodeProcess
from .progress import ProgressWriter

__all__ = ["Supervisor", "save_time_message"]

_PEER_FAILED_GRACE_S = 8.0
_OTHER_EXITS_TIMEOUT_S = 45.0
"""Seconds that a failed node waits for the other nodes' results. torchrun gives its workers 30 s to exit."""


class Supervisor:
    """Supervises one attempt on one node. `notice_s`: usual seconds of a preemption notice. `deadline`: time limit (monotonic clock)."""

    def __init__(
        self, channel: ControlChannel, stop_request: StopRequest, progress: ProgressWriter | None, notice_s: float, deadline: float
    ) -> None:
        self._channel, self._stop_request, self._progress = channel, stop_request, progress
        self._notice_s, self._deadline = notice_s, deadline
        self._sent_deadline = math.inf
        self._save_time_printed = False

    def wait_for(self, process: NodeProcess, update: Callable[[], bool] | None = None) -> None:
        """Wait for a process to exit. For the job's own processes, pass `update`, which is called about ten times a second.

        If `update` returns True, the job's processes have ended. Then the wait ends, although the agent may still run.

        If a stop is overdue, or another node has exited, kill the process and raise NodeExitError (75).
        """
        while process.return_code is None:
            self._channel.receive(0.1)
            self._check_time_limit()
            self._forward_stop()
            if update and update():
                return
            cause = self.interruption(workers_running=update is not None)
            if cause is not None and process.return_code is None:
                process.terminate(self._stop_request.kill_grace_s if self._stop_request.requested else _PEER_FAILED_GRACE_S)
                raise NodeExitError(RESUMABLE, cause, interrupted=True)
        process.terminate(0.0)

    def interruption(self, workers_running: bool) -> str | None:
        """Return why this node must exit now; None if it may continue."""
        if self._stop_request.overdue:
            return "stop requested: processes that did not exit in time were killed"
        if self._stop_request.requested and not workers_running:
            return "stopped before the workers were started"
        for node, reason in self._channel.lost.items():
            return f"node {node} was lost: {reason}"
        for node, state in self._channel.exits.items():
            if state["code"] not in (DONE, RESUMABLE):
                return f"node {node} exited with code {state['code']}"
        return None

    def raise_if_node_lost(self) -> None:
        """Raise NodeExitError (75) if another node is lost. The lost node may be the cause of this node's failure."""
        self._channel.receive(0.5)
        for node, reason in self._channel.lost.items():
            raise NodeExitError(RESUMABLE, f"node {node} was lost: {reason}", interrupted=True)

    def update_progress(self, phase: str, restarts: int) -> None:
        """Update progress.json on node 0. Print once whether a save fits into a preemption notice."""
        if not self._progress:
            return
        self._progress.update(phase, restarts)
        if not self._save_time_printed:
            self.print_save_time(self._notice_s)

    def print_save_time(self, notice_s: float | None = None) -> None:
        """Print whether a save fits into a preemption notice, if the job has reported `save_s`."""
        self._save_time_printed = self._progress is not None and self._progress.save_s is not None
        if self._progress and self._progress.save_s is not None:
            print(f"gpuyard: {save_time_message(self._progress.save_s, self._notice_s if notice_s is None else notice_s)}", flush=True)

    def wait_for_other_nodes(self, own: AgentState) -> None:
        """Wait until every other node has sent its result. After a failure of this node, wait at most 45 s."""
        timeout = time.monotonic() + _OTHER_EXITS_TIMEOUT_S
        self._channel.send("exit", **asdict(own))
        while not self._channel.all_exited() and not self._stop_request.overdue:
            if own.code != DONE and time.monotonic() > timeout:
                return
            self._channel.receive(0.1)
            self._forward_stop()

    def other_results(self) -> list[AgentState]:
        """Return the results that other nodes sent."""
        names = AgentState.__dataclass_fields__
        return [AgentState(**{key: value for key, value in sent.items() if key in names}) for sent in self._channel.exits.values()]

    def _check_time_limit(self) -> None:
        """Request a stop if all restarts together reach the time limit. (The service limits each restart separately.)"""
        if self._progress:
            self._progress.heartbeat()
        if time.monotonic() > self._deadline and not self._stop_request.requested:
            print("gpuyard: the job's time limit over all restarts of its nodes is reached", flush=True)
            self._stop_request.request()

    def _forward_stop(self) -> None:
        """Obey another node's stop request. Send this node's own request to the others if it is new or leaves less time."""
        resumable = any(state["code"] == RESUMABLE and state["phase"] != "interrupted" for state in self._channel.exits.values())
        if self._channel.stop:
            self._stop_request.request(self._channel.stop_s)
        elif resumable and not self._stop_request.requested:
            self._stop_request.request()
        if self._stop_request.deadline < self._sent_deadline - 1.0:
            self._sent_deadline, left_s = self._stop_request.deadline, self._stop_request.seconds_left
            print(f"gpuyard: stop requested: the workers have {left_s:.0f} s to save and exit", flush=True)
            self._channel.send("stop", stop_s=left_s)
            self.print_save_time(left_s)


def save_time_message(save_s: float, notice_s: float) -> str:
    """Return a sentence that compares the duration of a save with the length of a preemption notice."""
    text = f"an emergency checkpoint takes {save_s:.1f} s, the preemption notice gives {notice_s:.0f} s"
    if save_s <= notice_s:
        return text
    return f"{text}: too short, so a preempted job resumes from its last periodic checkpoint; save more often, or faster"
