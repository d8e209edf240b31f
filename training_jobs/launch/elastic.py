"""Extends torch's elastic agent: fixed ranks, all nodes restart together, final exit codes, last log lines of a failed worker.

Only this module of launch imports torch at its top, so agent.py imports it inside a function.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed import DistError
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import LogsDest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo, RendezvousTimeoutError

from .agent_state import FINAL_CODES, AgentPlan, AgentState, write_state
from .hook import DONE, seconds_left
from .output import OutputPump
from .processes import OutputTail

__all__ = ["ElasticAgent", "LockstepRendezvous"]

_JOIN_TIMEOUT = timedelta(minutes=10)
_WORKER_GRACE_S = 5


class LockstepRendezvous(RendezvousHandler):
    """A rendezvous of a fixed set of agents through a store in node 0's agent.

    torch's c10d rendezvous sorts nodes by the text of their addresses, and each agent counts only its own
    restarts. Here node i always gets group rank i, and round k is the k-th restart of every node.
    The stores of agents and workers listen on node 0's own address, not on all interfaces as torch's default.
    """

    def __init__(self, plan: AgentPlan) -> None:
        self.round = -1
        self._plan = plan
        self._workers_store: TCPStore | None = None
        self._store = TCPStore(
            plan.main_address,
            plan.port,
            is_master=plan.rank == 0,
            timeout=_JOIN_TIMEOUT,
            wait_for_workers=False,
            master_listen_fd=plan.listen_fd,
        )

    def get_backend(self) -> str:
        """Return the name of this rendezvous for torch's event log."""
        return "lockstep"

    def get_run_id(self) -> str:
        """Return the run id for the workers' environment."""
        return self._plan.run_id

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait until every node has joined the next round."""
        self.round += 1
        store = PrefixStore(f"round/{self.round}", self._store)
        store.set("started", "1")
        store.set(f"node/{self._plan.rank}", "1")
        self._wait(store)
        bootstrap = RendezvousStoreInfo.build(self._plan.rank, store, self._plan.address, self._open_workers_store())
        return RendezvousInfo(store, self._plan.rank, self._plan.nodes, bootstrap)

    @property
    def use_agent_store(self) -> bool:
        """Return True: all workers use the store in node 0's agent, so rank 0 opens no store."""
        return True

    def _open_workers_store(self) -> int | None:
        """Open a new store for the workers on node 0, without stale keys of earlier rounds. Returns its port."""
        if self._plan.rank != 0:
            return None
        listener = socket.create_server((self._plan.address, 0), backlog=2048)
        port = int(listener.getsockname()[1])
        self._workers_store = TCPStore(
            self._plan.address, port, is_master=True, wait_for_workers=False, timeout=_JOIN_TIMEOUT, master_listen_fd=listener.detach()
        )
        return port

    def _wait(self, store: PrefixStore) -> None:
        """Wait for all nodes by polling: a wait inside the store would not react to launch's SIGTERM."""
        deadline = time.monotonic() + _JOIN_TIMEOUT.total_seconds()
        while not store.check([f"node/{node}" for node in range(self._plan.nodes)]):
            if time.monotonic() > deadline:
                raise RendezvousTimeoutError(
                    f"timed out after {_JOIN_TIMEOUT}: fewer than {self._plan.nodes} nodes joined round {self.round}"
                )
            time.sleep(0.05)

    def announce_end(self) -> None:
        """Tell the other agents that this node's workers have ended and will not join another round."""
        with contextlib.suppress(DistError):
            self._store.set(f"ended/{self._plan.rank}", "1")

    def any_ended(self) -> bool:
        """Return whether the workers of any node have ended. Then another round cannot start."""
        with contextlib.suppress(DistError):
            return any(self._store.check([f"ended/{node}"]) for node in range(self._plan.nodes))
        return True

    def num_nodes_waiting(self) -> int:
        """Return 1 if any node waits for a new round, else 0. Also 0 if the store is lost: the control channel reports lost nodes."""
        with contextlib.suppress(DistError):
            return int(self._store.check([f"round/{self.round + 1}/started"]))
        return 0

    def is_closed(self) -> bool:
        """Return False: a rendezvous ends only with its agents."""
        return False

    def set_closed(self) -> None:
        """Do nothing: a rendezvous ends only with its agents."""

    def shutdown(self) -> bool:
        """Do nothing: the store ends with its process."""
        return True


class RankOutput(DefaultLogsSpecs):
    """Passes on each rank's output through a pipe. torch's own class writes files and reads whole lines of any length from them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(log_dir=str(folder))
        self._tails: dict[int, OutputTail] = {}
        self._pumps: list[OutputPump] = []
        self._write_ends: list[int] = []

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Create a pipe for each rank, and return paths of the write ends."""
        self.drain()
        found = super().reify(envs)
        for local_rank, env in envs.items():
            read_end, write_end = os.pipe()
            self._write_ends.append(write_end)
            self._tails[local_rank] = OutputTail(f"[rank {env['RANK']}] ")
            self._pumps.append(OutputPump(read_end, self._tails[local_rank].write))
            found.stdouts[local_rank] = found.stderrs[local_rank] = f"/dev/fd/{write_end}"
        return found

    def drain(self) -> None:
        """Pass on the remaining output of ranks that have exited."""
        for pump in self._pumps:
            pump.drain()
        for write_end in self._write_ends:
            os.close(write_end)
        self._pumps, self._write_ends = [], []

    def tail(self, local_rank: int) -> tuple[str, ...]:
        """Return the last lines of a rank that has exited."""
        self.drain()
        return tuple(self._tails[local_rank].lines())


class ElasticAgent(LocalElasticAgent):
    """torch's local elastic agent with lockstep restarts and final exit codes."""

    def __init__(self, plan: AgentPlan, entrypoint: str, args: tuple[str, ...]) -> None:
        self._lockstep = LockstepRendezvous(plan)
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
        self._output = RankOutput(Path(plan.state) / "logs")
        super().__init__(spec, self._output)
        self._folder = Path(plan.state)
        self._failed: ProcessFailure | None = None
        self._failed_rank: int | None = None
        self._failed_at = 0.0
        self._restarts = 0
        self._write_state("running")

    def final_state(self) -> AgentState:
        """Return how the ranks of this node ended."""
        self._lockstep.announce_end()
        if self._failed is None:
            return AgentState("ended", self._restarts, time.time(), DONE)
        code = self._failed.exitcode
        number = -code if code < 0 else None
        code = 128 + number if number else code
        return AgentState(
            "ended", self._restarts, self._failed_at, code, self._failed_rank, number, self._output.tail(self._failed.local_rank)
        )

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state == WorkerState.FAILED:
            # The first failure is the cause, because torch then ends the other workers. A final exit code counts before later errors.
            failures = sorted(result.failures.items(), key=lambda failure: failure[1].exitcode not in FINAL_CODES)
            self._failed_rank, self._failed = failures[0]
            self._failed_at = time.time()
            if self._failed.exitcode in FINAL_CODES or self._lockstep.any_ended():
                self._remaining_restarts = 0
        return result

    def _exit_barrier(self) -> None:
        """Do nothing: launch waits for the other nodes through the control channel."""

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        self._restarts = self._lockstep.round + 1  # also after another node's failure, so that all nodes have the same count
        self._remaining_restarts = worker_group.spec.max_restarts - self._restarts
        self._write_state("recovering")
        self._failed = self._failed_rank = None
        super()._restart_workers(worker_group)

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        # On a stop, the workers may use all of the remaining time: launch enforces the deadline, and they die with this process.
        left_s = seconds_left()
        super()._shutdown(death_sig, _WORKER_GRACE_S if left_s is None else max(1, int(left_s)))
        self._output.drain()

    def _write_state(self, phase: str) -> None:
        write_state(self._folder, AgentState(phase, self._restarts, time.time()))
