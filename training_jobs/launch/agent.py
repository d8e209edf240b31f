"""Runs torch's elastic agent of one node in a process of its own: it starts and restarts the ranks and writes how they ended.

Usage: python -m gpuyard.training_jobs.launch.agent '<AgentPlan as JSON>'. Writes <state>/agent.json.
When its ranks have ended, node 0's agent keeps its stores open for the other nodes' workers until launch stops it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from .agent_state import AgentPlan, AgentState, write_state
from .hook import BAD_CONFIG, DONE
from .processes import shim_command

__all__ = ["main"]

_VERDICT_S, _LONGEST_S = 10.0, 86400.0
_INTERNAL = 70


def main(argv: list[str]) -> int:
    """Run the agent. Returns the exit code of the node's workers."""
    plan = AgentPlan(**json.loads(argv[0]))
    try:
        from torch.distributed import DistError
        from torch.distributed.elastic.multiprocessing import SignalException
        from torch.distributed.elastic.rendezvous import RendezvousError

        from .elastic import ElasticAgent
    except ModuleNotFoundError as error:
        text = f"gpuyard: launcher: torchrun needs torch on the node: {error}; install torch in the image or by setup:"
        print(text, file=sys.stderr)
        write_state(Path(plan.state), AgentState("ended", 0, time.time(), BAD_CONFIG, tail=(text,)))
        return BAD_CONFIG
    try:
        agent = ElasticAgent(plan, sys.executable, (*shim_command(os.getpid())[1:], sys.executable, "-u", *plan.command))
        agent.run()
        state = agent.final_state()
        write_state(Path(plan.state), state)
        if plan.rank == 0 and plan.nodes > 1:
            time.sleep(_LONGEST_S)
    except SignalException as error:  # launch stopped this agent: the workers have exited
        return 128 + int(error.sigval)
    except (DistError, RendezvousError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"gpuyard: the agents of the nodes cannot reach each other: {text}", file=sys.stderr, flush=True)
        time.sleep(_VERDICT_S)  # the control channel reports a lost node within this time
        return _INTERNAL
    return state.code or DONE


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # skip the teardown of torch's threads, which can take seconds
