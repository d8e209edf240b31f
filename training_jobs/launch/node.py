"""One node in one attempt, from secrets to its result: runs the steps in order and lets nothing outlive it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import objects as files
from .agent_state import FINAL, AgentPlan, AgentState, forget_state, read_state
from .control_channel import Meeting, free_port
from .environment import workers_environment
from .hook import BAD_CONFIG, DONE, FABRIC, RESUMABLE
from .node_exit import IO_ERROR, OUT_OF_TIME, EndedError
from .preemption.stop_request import Notice
from .processes import Child
from .progress import Progress, leave, now
from .topology import Place

_CUT_PATIENCE_S = 8.0
_LAST_WORDS_S = 45.0
"""How long to wait for how the others ended, once this node failed: torchrun's own 30 s for its workers and some."""

_TIME_IS_UP_S = 5.0  # before the limit: the nodes' clocks differ a little, and with so little left nothing is worth starting again


class Node:
    """This node's part of an attempt."""

    def __init__(
        self, where: Place, job: dict[str, Any], attempt: int, run_url: str, state: Path, cwd: Path, meeting: Meeting, notice: Notice,
        lead_s: float, until: float = math.inf,
    ) -> None:  # fmt: skip
        self._where, self._job, self._attempt, self._run_url = where, job, attempt, run_url
        self._state, self._cwd, self._meeting, self._notice = state, cwd, meeting, notice
        self._attempt_url = f"{run_url}/output/attempt-{attempt}"
        self._report_file = state / "report.json"
        self._progress = Progress(self._attempt_url, attempt, self._report_file) if where.rank == 0 else None
        self._restarts = 0
        self._told_until = math.inf
        self._lead_s, self._until = lead_s, until
        self._weighed = False

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
        self._seed_report()
        stop_file = self._notice.stop_file
        env = workers_environment(self._where, self._job, self._attempt, self._run_url, stop_file, self._report_file)
        done = self._state / "set-up"
        if self._job["setup"] and not done.exists():  # once per node, also when it lives several attempts
            self._command(self._job["setup"], env, "setup")
            done.touch()
        if self._job["preflight"] != "skip":
            self._enter("preflight")
            self._preflight(env)
        else:
            leave(f"{self._attempt_url}/preflight.json", {"verdict": "skipped", "checks": {}, "skipped": ["all: the job says so"]})
        if self._job["preflight"] == "only":
            return AgentState("ended", 0, time.time(), DONE)
        return self._torchrun(env) if self._job["launcher"] == "torchrun" else self._plain(env)

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
        self._weigh(self._lead_s)  # by what the attempt before told
        order = self._meeting.agree({"port": free_port(self._where.main_address)} if self._where.rank == 0 else None)
        clock = self._meeting.clock()
        plan = {
            "rank": self._where.rank, "nodes": self._where.nodes, "main_address": self._where.main_address,
            "port": order["port"], "attempt_url": self._attempt_url, "fabric": self._job["fabric"],
            "clock": {"ahead_s": round(clock[0], 4), "within_s": round(clock[1], 4)} if clock else None,
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
        forget_state(self._state)  # an earlier attempt's
        child = Child([*_own("agent"), json.dumps(asdict(plan))], env, self._cwd, pass_fds=() if fd is None else (fd,))
        if listener:
            listener.close()
        self._enter("running")
        self._watch(child, self._follow)
        state = read_state(self._state)
        if state is not None and state.code in (DONE, *FINAL):
            return state
        self._hear_of_a_loss()
        if state is not None and state.code is not None:
            return state
        cause = self._cause_to_cut(running=True)
        if cause is not None:
            raise EndedError(RESUMABLE, cause, cut=True)
        code = _exit_code(child.code) or 70
        raise EndedError(code, f"torchrun's agent ended with code {code} and left no result")

    def _plain(self, env: dict[str, str]) -> AgentState:
        self._meeting.agree({} if self._where.rank == 0 else None)
        child = Child(self._job["command"], env, self._cwd, keep_tail=True)
        self._enter("running")
        self._watch(child, lambda: self._follow_report("running", 0))
        code = _exit_code(child.code)
        if code == DONE:
            return AgentState("ended", 0, time.time(), DONE)
        if code not in FINAL:
            self._hear_of_a_loss()
        number = -child.code if child.code is not None and child.code < 0 else None
        return AgentState("ended", 0, time.time(), code, self._where.rank, number, tuple(child.tail()))

    def _watch(self, child: Child, follow: Callable[[], None] | None = None) -> None:
        """Wait for a command; end it when the grace is over or another node's end leaves it nothing to do."""
        while child.code is None:
            self._meeting.listen(0.1)
            self._keep_time()
            self._pass_on_stop()
            if follow:
                follow()
            cause = self._cause_to_cut(running=follow is not None)
            if cause is not None and child.code is None:
                child.end(self._notice.left_s if self._notice.asked else _CUT_PATIENCE_S)
                raise EndedError(RESUMABLE, cause, cut=True)
        child.end(0.0)

    def _keep_time(self) -> None:
        """Ask for a stop when the time limit is reached, which the service itself does not know."""
        if self._progress:
            self._progress.alive()
        if time.monotonic() > self._until and not self._notice.asked:
            print("gpuyard: the time limit over all starts is reached", flush=True)
            self._notice.ask()

    def _hear_of_a_loss(self) -> None:
        """What failed here may have failed for want of another node: its collectives can break before its line is seen to break."""
        self._meeting.listen(0.5)
        for node in self._meeting.lost:
            raise EndedError(RESUMABLE, f"node {node} was lost", cut=True)

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
        if self._meeting.stop:
            self._notice.ask(self._meeting.given_s)
        elif left and not self._notice.asked:
            self._notice.ask()
        if self._notice.until < self._told_until - 1.0:  # the first word, or a notice that leaves less time
            self._told_until, given_s = self._notice.until, self._notice.given_s
            print(f"gpuyard: a stop was asked: the workers are told, and ended in {given_s:.0f} s", flush=True)
            self._meeting.tell("stop", given_s=given_s)
            self._weigh(given_s)

    def _weigh(self, given_s: float) -> None:
        """Say whether an emergency checkpoint fits into a notice, where the job has told how long it saves."""
        self._weighed = self._progress is not None and self._progress.save_s is not None
        if self._progress and self._progress.save_s is not None:
            print(f"gpuyard: {weigh(self._progress.save_s, given_s)}", flush=True)

    def _follow(self) -> None:
        state = read_state(self._state)
        if state is None:
            return
        self._restarts = state.restarts
        self._follow_report(state.phase, state.restarts)

    def _follow_report(self, phase: str, restarts: int) -> None:
        if not self._progress:
            return
        self._progress.follow(phase, restarts)
        if not self._weighed:
            self._weigh(self._lead_s)  # once, while there is time to save more often

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
            code = OUT_OF_TIME if time.monotonic() > self._until - _TIME_IS_UP_S else RESUMABLE
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


def weigh(save_s: float, given_s: float) -> str:
    """The sentence that sets an emergency checkpoint beside a notice."""
    fits = "" if save_s <= given_s else ": too long, a preemption falls back to the last periodic one; save more often, or faster"
    return f"an emergency checkpoint needs {save_s:.1f} s, a notice gives {given_s:.0f} s{fits}"


def _own(module: str) -> list[str]:
    """One of launch's own programs; -P: found on PYTHONPATH, whatever lies in the user's folder."""
    return [sys.executable, "-P", "-m", f"{__package__}.{module}"]


def _exit_code(code: int | None) -> int:
    """A return code as a shell has it: 128 + n for a death by signal n."""
    return 0 if code is None else 128 - code if code < 0 else code
