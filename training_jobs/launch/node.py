"""One node in one attempt, from secrets to its result: runs the steps in order and lets nothing outlive it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import files, secrets
from .agent import AgentPlan, AgentState, read_state
from .children import Child
from .ended import IO_ERROR, EndedError
from .hook import BAD_CONFIG, DONE, FABRIC, RESUMABLE
from .meeting import Meeting, free_port
from .notice import Notice
from .progress import Progress, leave, now
from .topology import Place

_CUT_PATIENCE_S = 8.0
_LAST_WORDS_S = 45.0
"""How long to wait for how the others ended, once this node failed: torchrun's own 30 s for its workers and some."""
_HOME = Path(__file__).resolve().parents[2]


class Node:
    """This node's part of an attempt."""

    def __init__(
        self, where: Place, job: dict[str, Any], attempt: int, run_url: str, state: Path, cwd: Path, meeting: Meeting, notice: Notice
    ) -> None:
        self._where, self._job, self._attempt, self._run_url = where, job, attempt, run_url
        self._state, self._cwd, self._meeting, self._notice = state, cwd, meeting, notice
        self._attempt_url = f"{run_url}/output/attempt-{attempt}"
        self._report_file = state / "report.json"
        self._progress = Progress(self._attempt_url, attempt, self._report_file) if where.rank == 0 else None
        self._restarts = 0
        self._told_stop = False

    def live(self) -> int:
        """Run everything; the exit code that all nodes share."""
        began = now()
        try:
            ending = self._steps()
        except EndedError as end:
            ending = self._cut_short(end)
        except OSError as error:
            ending = self._cut_short(EndedError(IO_ERROR, f"this node's disk or the run's storage fails: {error}"))
        self._meeting.tell("ended", **asdict(ending))
        self._wait_for_others(ending)
        return self._conclude(ending, began)

    def _cut_short(self, end: EndedError) -> AgentState:
        print(f"gpuyard: {end}", file=sys.stderr, flush=True)
        return AgentState("cut" if end.cut else "ended", self._restarts, time.time(), end.code, tail=tuple(end.tail))

    def _steps(self) -> AgentState:
        self._enter("setup")
        env = self._environment()
        if self._job["setup"]:
            self._command(self._job["setup"], env, "setup")
        if self._job["preflight"] != "skip":
            self._enter("preflight")
            self._preflight(env)
        else:
            leave(f"{self._attempt_url}/preflight.json", {"verdict": "skipped", "checks": {}, "skipped": ["all: the job says so"]})
        if self._job["preflight"] == "only":
            return AgentState("ended", 0, time.time(), DONE)
        return self._torchrun(env) if self._job["launcher"] == "torchrun" else self._plain(env)

    def _environment(self) -> dict[str, str]:
        """What the workers see. A job's own variables cannot replace gpuyard's."""
        job, checkpoint = self._job, self._job["checkpoint"]
        asked = {**os.environ, **job["env"]}
        own = {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_HOME), asked.get("PYTHONPATH")])),
            "GPUYARD_NODE_RANK": str(self._where.rank),
            "GPUYARD_NUM_NODES": str(self._where.nodes),
            "GPUYARD_MAIN_ADDRESS": self._where.main_address,
            "GPUYARD_ATTEMPT": str(self._attempt),
            "GPUYARD_OUTPUT_URL": f"{self._run_url}/output",
            "GPUYARD_CHECKPOINT_URL": f"{self._run_url}/checkpoints",
            "GPUYARD_CHECKPOINT_EVERY_S": str(checkpoint["every_s"]),
            "GPUYARD_CHECKPOINT_KEEP": str(checkpoint["keep"]),
            "GPUYARD_STOP_FILE": str(self._notice.stop_file),
            "GPUYARD_REPORT_FILE": str(self._report_file),
            **{f"GPUYARD_DATA_{name.upper().replace('-', '_')}": url for name, url in job["data"].items()},
        }
        default = {"PYTHONUNBUFFERED": "1"}
        if self._where.interface:
            default |= {"GLOO_SOCKET_IFNAME": self._where.interface, "NCCL_SOCKET_IFNAME": self._where.interface}
        if job["launcher"] == "torchrun" and job["nproc_per_node"] > 1:
            default["OMP_NUM_THREADS"] = "1"  # as torchrun does: ranks share the cores
        self._seed_report()
        kept = {name: value for name, value in os.environ.items() if name.startswith("GPUYARD_")}
        return {**default, **asked, **secrets.resolve(job["secrets"]), **kept, **own}

    def _seed_report(self) -> None:
        """Let rank 0 know how far the attempt before came, so that it can count what is done again."""
        before = files.read(f"{self._run_url}/output/attempt-{self._attempt - 1}/progress.json")
        if self._where.rank != 0 or not before:
            return
        with contextlib.suppress(ValueError, KeyError, TypeError):  # torn by the end of the attempt before: nothing is known of it
            told = json.loads(before)
            if told["step"] is not None:
                self._report_file.write_text(json.dumps({"step": told["step"], "metrics": told["metrics"], "at": None}), encoding="utf-8")

    def _command(self, argv: list[str], env: dict[str, str], what: str) -> None:
        child = Child(argv, env, self._cwd, keep_tail=True)
        self._watch(child)
        code = _exit_code(child.code)
        if code != DONE:
            text = f"{what} ended with code {code}: {' '.join(argv)}"
            raise EndedError(code, text, tail=[*child.tail(), f"gpuyard: {text}"][-30:])

    def _preflight(self, env: dict[str, str]) -> None:
        order = self._meeting.agree({"port": free_port(self._where.main_address)} if self._where.rank == 0 else None)
        plan = {
            "rank": self._where.rank, "nodes": self._where.nodes, "main_address": self._where.main_address,
            "port": order["port"], "attempt_url": self._attempt_url,
        }  # fmt: skip
        self._command([*_own("preflight"), json.dumps(plan)], env, "preflight")

    def _torchrun(self, env: dict[str, str]) -> AgentState:
        where, job = self._where, self._job
        listener = socket.create_server((where.main_address, 0), backlog=128) if where.rank == 0 else None
        order = self._meeting.agree({"port": listener.getsockname()[1]} if listener else None)
        fd = listener.fileno() if listener else None
        plan = AgentPlan(
            os.environ["GPUYARD_RUN_ID"], where.rank, where.nodes, job["nproc_per_node"], job["command"], job["max_restarts"],
            where.main_address, where.address, order["port"], fd, str(self._state),
        )  # fmt: skip
        child = Child([*_own("agent"), json.dumps(asdict(plan))], env, self._cwd, pass_fds=() if fd is None else (fd,))
        if listener:
            listener.close()
        self._enter("running")
        self._watch(child, self._follow)
        state = read_state(self._state)
        if state is not None and state.code is not None:
            return state
        self._meeting.listen(0.5)  # the agents' store is in node 0's agent: with that one gone, this one fails too
        cause = self._cause_to_cut(running=True)
        if cause is not None:
            raise EndedError(RESUMABLE, cause, cut=True)
        code = _exit_code(child.code) or 70
        raise EndedError(code, f"torchrun's agent ended with code {code} and left no result")

    def _plain(self, env: dict[str, str]) -> AgentState:
        self._meeting.agree({} if self._where.rank == 0 else None)
        child = Child(self._job["command"], env, self._cwd, keep_tail=True)
        self._enter("running")
        self._watch(child, lambda: self._progress.follow("running", 0, 0.0) if self._progress else None)
        code = _exit_code(child.code)
        if code == DONE:
            return AgentState("ended", 0, time.time(), DONE)
        number = -child.code if child.code is not None and child.code < 0 else None
        return AgentState("ended", 0, time.time(), code, self._where.rank, number, tuple(child.tail()))

    def _watch(self, child: Child, follow: Callable[[], None] | None = None) -> None:
        """Wait for a command; end it when the grace is over or another node's end leaves it nothing to do."""
        while child.code is None:
            self._meeting.listen(0.1)
            self._pass_on_stop()
            if follow:
                follow()
            cause = self._cause_to_cut(running=follow is not None)
            if cause is not None and child.code is None:
                child.end(self._notice.left_s if self._notice.asked else _CUT_PATIENCE_S)
                raise EndedError(RESUMABLE, cause, cut=True)
        child.end(0.0)

    def _cause_to_cut(self, running: bool) -> str | None:
        if self._notice.overdue:
            return "a stop was asked: what did not leave by itself was ended"
        if self._notice.asked and not running:
            return "stopped before the workers were started"
        for node in self._meeting.lost:
            return f"node {node} was lost"
        for node, ending in self._meeting.endings.items():
            if ending["code"] not in (DONE, RESUMABLE):
                return f"node {node} ended with code {ending['code']}"
        return None

    def _pass_on_stop(self) -> None:
        left = any(ending["code"] == RESUMABLE and ending["phase"] != "cut" for ending in self._meeting.endings.values())
        if self._meeting.stop or left:
            self._notice.ask()
        if self._notice.asked and not self._told_stop:
            self._told_stop = True
            print("gpuyard: a stop was asked: the workers are told, and ended when the grace is over", flush=True)
            self._meeting.tell("stop")

    def _follow(self) -> None:
        state = read_state(self._state)
        if state is None:
            return
        self._restarts = state.restarts
        if self._progress:
            self._progress.follow(state.phase, state.restarts, state.changed_at)

    def _enter(self, phase: str) -> None:
        if self._progress:
            self._progress.phase(phase)

    def _wait_for_others(self, own: AgentState) -> None:
        deadline = time.monotonic() + _LAST_WORDS_S
        while not self._meeting.everyone_ended() and not self._notice.overdue:
            if own.code != DONE and time.monotonic() > deadline:
                return
            self._meeting.listen(0.1)
            self._pass_on_stop()

    def _conclude(self, own: AgentState, began: str) -> int:
        """Leave this node's result. All nodes report the failure that came first, wherever it was."""
        endings = {node: {k: v for k, v in ending.items() if k in asdict(own)} for node, ending in self._meeting.endings.items()}
        first = verdict([own, *(AgentState(**ending) for ending in endings.values())])
        code = first.code or DONE
        stopped = self._notice.asked
        if stopped and code not in (DONE, BAD_CONFIG, FABRIC):
            code = RESUMABLE
        result = {
            "attempt": self._attempt, "node": self._where.rank, "exit_code": code, "rank": first.rank, "signal": first.signal,
            "restarts": own.restarts, "stopped": stopped, "tail": list(first.tail), "started_at": began, "ended_at": now(),
        }  # fmt: skip
        self._enter("ended")
        leave(f"{self._attempt_url}/node-{self._where.rank}.json", result)
        return code


def verdict(endings: list[AgentState]) -> AgentState:
    """How the job ended, the same from every node's view: a final code, else the first failure, else who was cut, else done."""
    failed = sorted((e for e in endings if e.code != DONE), key=lambda e: (e.phase == "cut", e.changed_at))
    final = [e for e in failed if e.code in (BAD_CONFIG, FABRIC)]
    return (final or failed or endings)[0]


def _own(module: str) -> list[str]:
    """One of launch's own programs; -P: found on PYTHONPATH, whatever lies in the user's folder."""
    return [sys.executable, "-P", "-m", f"{__package__}.{module}"]


def _exit_code(code: int | None) -> int:
    """A return code as a shell has it: 128 + n for a death by signal n."""
    return 0 if code is None else 128 - code if code < 0 else code
