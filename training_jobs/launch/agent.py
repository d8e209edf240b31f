"""torchrun's agent for one node, in a process of its own: starts the ranks, restarts them, says how they ended.

Usage: python -m gpuyard.training_jobs.launch.agent '<JSON of launch>'. Leaves <state>/agent.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from .agent_state import AgentPlan, AgentState, write_state
from .hook import BAD_CONFIG, DONE
from .processes import shim


def main(argv: list[str]) -> int:
    """Run the agent to its end."""
    plan = AgentPlan(**json.loads(argv[0]))
    try:
        from torch.distributed.elastic.multiprocessing import SignalException

        from .elastic import Agent
    except ModuleNotFoundError as error:
        text = f"gpuyard: launcher torchrun needs torch on the node: {error}. Fix: pip install torch, in the image or in setup:"
        print(text, file=sys.stderr)
        write_state(Path(plan.state), AgentState("ended", 0, time.time(), BAD_CONFIG, tail=(text,)))
        return BAD_CONFIG
    agent = Agent(plan, sys.executable, (*shim(os.getpid())[1:], sys.executable, "-u", *plan.command))
    try:
        agent.run()
    except SignalException as stopped:  # launch ends it: the workers are gone by now
        return 128 + int(stopped.sigval)
    state = agent.last_word()
    write_state(Path(plan.state), state)
    return state.code or DONE


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's threads can take seconds to be torn down, and have nothing left to do
