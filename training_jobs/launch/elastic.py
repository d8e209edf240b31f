"""torch's elastic agent, extended: nodes in lockstep and in their own order, final exit codes, a failure told whole.

The one module of launch with torch at its top: agent.py imports it inside a function, in the agent's own process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed import DistError
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo, RendezvousTimeoutError

from .agent_state import FINAL, AgentPlan, AgentState, write_state
from .hook import DONE, seconds_left
from .processes import TAIL_LINES

_JOIN_TIMEOUT = timedelta(minutes=10)
_LEAVE_TIMEOUT = timedelta(seconds=10)
_WORKER_PATIENCE_S = 5


class Lockstep(RendezvousHandler):
    """A rendezvous of a fixed set of agents over a store that node 0's agent holds.

    torch's c10d rendezvous orders nodes by the text of their addresses and lets each agent count its own
    restarts. Here node i is always group rank i, and round k is everybody's k-th restart.
    """

    def __init__(self, plan: AgentPlan) -> None:
        self.round = -1
        self._plan = plan
        self._store = TCPStore(
            plan.main_address,
            plan.port,
            is_master=plan.rank == 0,
            timeout=_JOIN_TIMEOUT,
            wait_for_workers=False,
            master_listen_fd=plan.listen_fd,
        )

    def get_backend(self) -> str:
        """The name for torch's events."""
        return "lockstep"

    def get_run_id(self) -> str:
        """The run id for the workers' environment."""
        return self._plan.run_id

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait for every node to come to the next round."""
        self.round += 1
        store = PrefixStore(f"round/{self.round}", self._store)
        store.set("begun", "1")
        store.set(f"node/{self._plan.rank}", "1")
        self._wait(store)
        # The workers get a store of their own: what they share with the agents goes stale over restarts.
        bootstrap = RendezvousStoreInfo.build(self._plan.rank, store, self._plan.address)
        return RendezvousInfo(store, self._plan.rank, self._plan.nodes, bootstrap)

    def _wait(self, store: PrefixStore) -> None:
        """Ask again and again: a wait inside of the store would not hear launch's SIGTERM when the others never come."""
        deadline = time.monotonic() + _JOIN_TIMEOUT.total_seconds()
        while not store.check([f"node/{node}" for node in range(self._plan.nodes)]):
            if time.monotonic() > deadline:
                raise RendezvousTimeoutError(f"not all {self._plan.nodes} nodes came to round {self.round} in {_JOIN_TIMEOUT}")
            time.sleep(0.05)

    def leave(self) -> None:
        """After success: node 0 holds the store until the others are through with it."""
        with contextlib.suppress(DistError):
            self._store.set(f"left/{self._plan.rank}", "1")
            if self._plan.rank == 0:
                self._store.wait([f"left/{node}" for node in range(self._plan.nodes)], _LEAVE_TIMEOUT)

    def num_nodes_waiting(self) -> int:
        """How many wait for a new round (here: whether any does)."""
        return int(self._store.check([f"round/{self.round + 1}/begun"]))

    def is_closed(self) -> bool:
        """Never: the agents' own end closes it."""
        return False

    def set_closed(self) -> None:
        """Nothing to mark, see is_closed."""

    def shutdown(self) -> bool:
        """Nothing to tear down: the store ends with its process."""
        return True


class Agent(LocalElasticAgent):
    """torch's agent of one node."""

    def __init__(self, plan: AgentPlan, entrypoint: str, args: tuple[str, ...]) -> None:
        self._lockstep = Lockstep(plan)
        spec = WorkerSpec(
            role="worker",
            local_world_size=plan.nproc,
            entrypoint=entrypoint,
            args=args,
            rdzv_handler=self._lockstep,
            max_restarts=plan.max_restarts,
            monitor_interval=0.05,
            local_addr=plan.address,
        )
        logs = DefaultLogsSpecs(log_dir=str(Path(plan.state) / "logs"), tee=Std.ALL)
        super().__init__(spec, logs, log_line_prefix_template="[rank ${rank}] ")
        self._folder = Path(plan.state)
        self._failed: ProcessFailure | None = None
        self._failed_rank: int | None = None
        self._failed_at = 0.0
        self._restarts = 0
        self._tell("running")

    def last_word(self) -> AgentState:
        """How the ranks of this node ended."""
        if self._failed is None:
            self._lockstep.leave()
            return AgentState("ended", self._restarts, time.time(), DONE)
        code = self._failed.exitcode
        number = -code if code < 0 else None
        code = 128 + number if number else code
        return AgentState("ended", self._restarts, self._failed_at, code, self._failed_rank, number, self._tail())

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state == WorkerState.FAILED:
            # The first entry is the culprit: those after it were ended because of it.
            self._failed_rank, self._failed = next(iter(result.failures.items()))
            self._failed_at = time.time()
            if self._failed.exitcode in FINAL:
                self._remaining_restarts = 0
        return result

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        self._restarts = self._lockstep.round + 1  # also when another node's workers failed: one count for all nodes
        self._remaining_restarts = worker_group.spec.max_restarts - self._restarts
        self._tell("recovering")
        self._failed = self._failed_rank = None
        super()._restart_workers(worker_group)

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        # On a stop the whole time given is the workers': launch watches the clock, and they end with this process.
        left_s = seconds_left()
        super()._shutdown(death_sig, _WORKER_PATIENCE_S if left_s is None else max(1, int(left_s)))

    def _tell(self, phase: str) -> None:
        write_state(self._folder, AgentState(phase, self._restarts, time.time()))

    def _tail(self) -> tuple[str, ...]:
        if self._failed is None or self._pcontext is None:
            return ()
        lines: list[str] = []
        for paths in (self._pcontext.stdouts, self._pcontext.stderrs):
            lines += _last_lines(paths[self._failed.local_rank])
        return tuple(lines[-TAIL_LINES:])


def _last_lines(path: str) -> list[str]:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 64 * 1024))
        return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
