"""Runs one attempt on one node: setup, preflight, the job's processes, and the node's result document."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import objects
from .agent_state import FINAL_CODES, AgentPlan, AgentState, delete_state, read_state
from .control_channel import ControlChannel
from .environment import worker_environment
from .hook import BAD_CONFIG, DONE, FABRIC, RESUMABLE
from .node_description import describe_node
from .node_exit import IO_ERROR, OUT_OF_TIME, NodeExitError
from .preemption.stop_request import StopRequest
from .processes import NodeProcess
from .progress import ProgressWriter, utc_now, write_document
from .run_record import Job
from .supervision import Supervisor
from .topology import NodePlacement, data_folder
from .variables import expand

__all__ = ["NodeAttempt", "job_result"]

_LIMIT_MARGIN_S = 5.0
"""A stop counts as a timeout if it comes after the time limit, or less than this many seconds before it: clocks differ a little."""


class NodeAttempt:
    """One attempt on this node. `deadline`: end of the time limit on the monotonic clock."""

    def __init__(
        self, placement: NodePlacement, job: Job, attempt: int, run_url: str, state: Path, cwd: Path, channel: ControlChannel,
        stop_request: StopRequest, notice_s: float, deadline: float = math.inf,
    ) -> None:  # fmt: skip
        self._placement, self._job, self._attempt, self._run_url = placement, job, attempt, run_url
        self._state, self._cwd, self._channel, self._stop_request = state, cwd, channel, stop_request
        self._attempt_url = f"{run_url}/output/attempt-{attempt}"
        self._report_file, self._data = state / "report.json", data_folder(os.environ, state)
        self._progress = ProgressWriter(self._attempt_url, attempt, self._report_file) if placement.rank == 0 else None
        self._restarts = 0
        self._agent: NodeProcess | None = None  # it still runs while it keeps stores open
        self._deadline = deadline
        self._supervisor = Supervisor(channel, stop_request, self._progress, notice_s, deadline)

    def run(self) -> int:
        """Run the attempt. Returns the exit code that all nodes share."""
        began = utc_now()
        print(f"gpuyard: {describe_node(self._placement, self._job, self._attempt)}", flush=True)
        try:
            own = self._run_steps()
        except NodeExitError as error:
            own = self._failed(error)
        except OSError as error:
            own = self._failed(NodeExitError(IO_ERROR, f"cannot use this node's disk or the run's storage: {error}"))
        self._supervisor.wait_for_other_nodes(own)
        if self._agent:
            self._agent.terminate(0.0)
        return self._write_result(own, began)

    def _failed(self, error: NodeExitError) -> AgentState:
        print(f"gpuyard: {error}", file=sys.stderr, flush=True)
        phase = "interrupted" if error.interrupted else "ended"
        return AgentState(phase, self._restarts, time.time(), error.code, tail=tuple(error.tail))

    def _run_steps(self) -> AgentState:
        self._set_phase("setup")
        self._copy_last_report()
        stop_file = self._stop_request.stop_file
        env = worker_environment(self._placement, self._job, self._attempt, self._run_url, stop_file, self._report_file, self._data)
        self._copy_data(env)
        setup, setup_done = self._job["setup"], self._state / "set-up"
        if setup and not setup_done.exists():  # once per node, also when it runs several attempts
            self._run_command(expand(setup, env), env, "setup")
            setup_done.touch()
        if self._job["preflight"] != "skip":
            self._set_phase("preflight")
            self._run_preflight(env)
        else:
            skipped = {"verdict": "skipped", "checks": {}, "skipped": ["all checks: the job has preflight: skip"]}
            write_document(f"{self._attempt_url}/preflight.json", skipped)
        if self._job["preflight"] == "only":
            return AgentState("ended", 0, time.time(), DONE)
        command = expand(self._job["command"], env)
        return self._run_torchrun(command, env) if self._job["launcher"] == "torchrun" else self._run_plain(command, env)

    def _copy_data(self, env: dict[str, str]) -> None:
        """Copy the entries of `data` with `mount: copy`. A node copies them once, even if it runs several attempts."""
        names, done = self._job.get("copied_data", []), self._state / "data-copied"
        if not names or done.exists():
            return
        plan = self._state / "data.json"
        entries = {name: self._job["data"][name] for name in names}
        plan.write_text(json.dumps({"folder": str(self._data), "entries": entries}), encoding="utf-8")
        self._run_command([*_launch_program("data_copy"), str(plan)], env, "the copy of data")
        done.touch()

    def _copy_last_report(self) -> None:
        """Give rank 0 the last report of the previous attempt, so that it can count repeated steps. Continue that attempt's curves."""
        content = objects.read(f"{self._run_url}/output/attempt-{self._attempt - 1}/progress.json")
        if self._progress is None or not content:
            return
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # killed while it wrote
            progress = json.loads(content)
            if progress["step"] is not None:
                report = {"step": progress["step"], "metrics": progress["metrics"], "at": None}
                self._report_file.write_text(json.dumps(report), encoding="utf-8")
            self._progress.restore_curves(progress["curves"])

    def _run_command(self, argv: list[str], env: dict[str, str], step: str, pass_fds: Sequence[int] = ()) -> None:
        process = NodeProcess(argv, env, self._cwd, keep_tail=True, pass_fds=pass_fds)
        self._supervisor.wait_for(process)
        code = _exit_code(process.return_code)
        if code != DONE:
            text = f"{step} exited with code {code}: {' '.join(argv)}"
            raise NodeExitError(code, text, tail=[*process.tail(), f"gpuyard: {text}"][-30:])

    def _run_preflight(self, env: dict[str, str]) -> None:
        self._supervisor.print_save_time()  # as reported by the previous attempt
        listener, port = self._open_store()
        fds = () if listener is None else (listener.fileno(),)
        clock = self._channel.measure_clock()
        plan = {
            "rank": self._placement.rank, "nodes": self._placement.nodes, "main_address": self._placement.main_address,
            "port": port, "listen_fd": fds[0] if fds else None, "attempt_url": self._attempt_url, "fabric": self._job["fabric"],
            "clock": {"ahead_s": round(clock[0], 4), "within_s": round(clock[1], 4)} if clock else None,
        }  # fmt: skip
        with listener or contextlib.nullcontext():
            self._run_command([*_launch_program("preflight"), json.dumps(plan)], env, "preflight", fds)

    def _open_store(self) -> tuple[socket.socket | None, int]:
        """Bind a store's socket to node 0's own address. Returns the socket (None on other nodes) and its port (on all nodes)."""
        listener = socket.create_server((self._placement.main_address, 0), backlog=128) if self._placement.rank == 0 else None
        return listener, int(self._channel.barrier({"port": listener.getsockname()[1]} if listener else None)["port"])

    def _run_torchrun(self, command: list[str], env: dict[str, str]) -> AgentState:
        placement, job = self._placement, self._job
        listener, port = self._open_store()
        fd = listener.fileno() if listener else None
        plan = AgentPlan(
            os.environ["GPUYARD_RUN_ID"], placement.rank, placement.nodes, job["nproc_per_node"], command, job["max_restarts"],
            placement.main_address, placement.address, port, fd, str(self._state),
        )  # fmt: skip
        delete_state(self._state)
        argv = [*_launch_program("agent"), json.dumps(asdict(plan))]
        process = NodeProcess(argv, env, self._cwd, pass_fds=() if fd is None else (fd,))
        if listener:
            listener.close()
        self._set_phase("running")
        self._agent = process
        self._supervisor.wait_for(process, self._follow_agent)
        return self._agent_result(process)

    def _agent_result(self, process: NodeProcess) -> AgentState:
        state = read_state(self._state)
        if state is not None and state.code in (DONE, *FINAL_CODES):
            return state
        self._supervisor.raise_if_node_lost()
        if state is not None and state.code is not None:
            return state
        cause = self._supervisor.interruption(workers_running=True)
        if cause is not None:
            raise NodeExitError(RESUMABLE, cause, interrupted=True)
        code = _exit_code(process.return_code) or 70
        raise NodeExitError(code, f"torchrun's agent exited with code {code} and wrote no result")

    def _run_plain(self, command: list[str], env: dict[str, str]) -> AgentState:
        self._channel.barrier({} if self._placement.rank == 0 else None)
        process = NodeProcess(command, env, self._cwd, keep_tail=True)
        self._set_phase("running")
        self._supervisor.wait_for(process, self._follow_command)
        code = _exit_code(process.return_code)
        if code == DONE:
            return AgentState("ended", 0, time.time(), DONE)
        if code not in FINAL_CODES:
            self._supervisor.raise_if_node_lost()
        number = -process.return_code if process.return_code is not None and process.return_code < 0 else None
        return AgentState("ended", 0, time.time(), code, self._placement.rank, number, tuple(process.tail()))

    def _follow_command(self) -> bool:
        self._supervisor.update_progress("running", 0)
        return False

    def _follow_agent(self) -> bool:
        """Read the agent's newest state. Returns whether its workers have ended."""
        state = read_state(self._state)
        if state is None:
            return False
        self._restarts = state.restarts
        self._supervisor.update_progress(state.phase, state.restarts)
        return state.code is not None

    def _set_phase(self, phase: str) -> None:
        if self._progress:
            self._progress.set_phase(phase)

    def _write_result(self, own: AgentState, began: str) -> int:
        """Write node-<rank>.json and return the job's exit code. All nodes report the job's first failure."""
        first = job_result([own, *self._supervisor.other_results()])
        code = first.code or DONE
        stopped = self._stop_request.requested
        if stopped and code not in (DONE, BAD_CONFIG, FABRIC):
            code = OUT_OF_TIME if time.monotonic() > self._deadline - _LIMIT_MARGIN_S else RESUMABLE
        result = {
            "attempt": self._attempt, "node": self._placement.rank, "exit_code": code, "rank": first.rank, "signal": first.signal,
            "restarts": own.restarts, "stopped": stopped, "tail": list(first.tail), "started_at": began, "ended_at": utc_now(),
        }  # fmt: skip
        self._set_phase("ended")
        write_document(f"{self._attempt_url}/node-{self._placement.rank}.json", result)
        return code


def job_result(results: list[AgentState]) -> AgentState:
    """Choose the job's result from the nodes' results. Every node chooses the same result.

    The first of these decides: a bad configuration or slow fabric, the earliest failure, an interrupted node, success.
    """
    failed = sorted((r for r in results if r.code != DONE), key=lambda r: (r.phase == "interrupted", r.changed_at))
    final = [result for result in failed if result.code in (BAD_CONFIG, FABRIC)]
    return (final or failed or results)[0]


def _launch_program(module: str) -> list[str]:
    """Return the command that runs a module of launch. -P: do not import a user's file of the same name."""
    return [sys.executable, "-P", "-m", f"{__package__}.{module}"]


def _exit_code(code: int | None) -> int:
    """Convert subprocess's return code to a shell's exit code: 128 + n for a process killed by signal n."""
    return 0 if code is None else 128 - code if code < 0 else code
