"""Jobs of the real launch and trainer on 2 nodes of a service: one that is preempted, and a user's own script."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import JobSpec, parse_job
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from gpuyard.training_jobs.status import RunStatus
from tests.helpers.cli_process import write_code

_SMALL = ("batch=8", "context=32", "width=32", "layers=1", "corpus_bytes=400000", "val_bytes=8192")

# Proves that it has the secret without printing it, and that ranks are processes; exits with the given code when all have printed.
_SCRIPT = """
import os, sys, time
assert len(os.environ["TOKEN"]) == 28
assert os.environ["WORLD_SIZE"] == "4", os.environ["WORLD_SIZE"]
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "has it", flush=True)
open(os.path.join(os.environ["SPOKEN"], os.environ["RANK"]), "w").close()
while os.environ["RANK"] != "3" or len(os.listdir(os.environ["SPOKEN"])) < 4:
    time.sleep(0.02)
sys.exit(int(sys.argv[1]))
"""


def trainer_job(steps: int, saved: int) -> JobSpec:
    """Return a trainer job of `steps` steps that saves after every `saved` steps and has a secret."""
    command = ["-m", "gpuyard.training_jobs.train", *_SMALL, f"steps={steps}", f"save_every_steps={saved}"]
    keys = {"name": "gpt", "nodes": 2, "nproc_per_node": 1, "command": command, "preflight": "skip"}
    return parse_job({**keys, "secrets": {"WANDB_API_KEY": "wandb"}})


def check_resumed(runner: Runner, run: str, job: JobSpec, steps: int, into: Path, text: Callable[[], str]) -> RunStatus:
    """Fail unless a second attempt resumed at the first one's checkpoint and finished, and a further submit adopts the run."""
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.SUCCEEDED, 0, Exit.OK), text()
    written = runner.fetch(run, into)
    result = json.loads((into / "output/result.json").read_text())
    assert (result["attempt"], result["lost_steps"]) == (2, 0)
    assert f"checkpoints/{steps}/commit-2.json" in written
    assert (status.attempt, status.metrics.step) == (2, steps)
    first, second = status.attempts
    assert (first.attempt, first.state, first.reason, first.exit_code) == (1, State.STOPPED, Reason.PREEMPTED, 75)
    assert (second.attempt, second.state) == (2, State.SUCCEEDED)
    again = runner.submit(job, None, key="nightly")
    assert (again.created, again.note) == (False, "adopted: it is SUCCEEDED")
    return status


def submit_own_script(runner: Runner, folder: Path, code: int) -> str:
    """Submit a user's own script with a secret and an exit code, 2 processes on each node."""
    (folder / "spoken").mkdir()
    keys = {"name": "own", "command": ["script.py", str(code)], "secrets": {"TOKEN": "token"}, "nodes": 2, "nproc_per_node": 2}
    spec = parse_job({**keys, "preflight": "skip", "env": {"SPOKEN": str(folder / "spoken")}})
    return runner.submit(spec, write_code(folder, _SCRIPT)).status.run_id


def check_node_lines(runner: Runner, run: str, attempt: int) -> None:
    """Fail unless the log of each of 2 nodes has the line with which launch begins an attempt."""
    begins = f"gpuyard: attempt {attempt}: node "
    texts = {line.node: line.text for line in runner.logs(run) if line.text.startswith(begins)}
    assert set(texts) == {0, 1}, list(runner.logs(run))
    for node, text in texts.items():
        assert text.startswith(f"{begins}{node} of 2 on host "), text
