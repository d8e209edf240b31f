"""Jobs on the fake AWS Batch with the real bootstrap, launch and torchrun, and the run bucket on S3."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends import aws_batch
from gpuyard.training_jobs.backends.base import Backend
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.state import Exit, Reason, State, exit_for
from gpuyard.training_jobs.status import RunStatus
from gpuyard.training_jobs.store import read_url
from gpuyard.training_jobs.target import BatchTarget, JobTarget
from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.aws.moto_server import Moto, moto
from tests.helpers.batch_pool import GROUP, batch_target
from tests.helpers.secret_scan.aws import check_no_secret
from tests.helpers.trainer_jobs import check_node_lines
from tests.helpers.waiting import wait_for
from tools.live import JOBS

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own is Linux's"),
    pytest.mark.timeout(900),  # 9 processes import torch, on a machine that may be busy
]

SMALL: dict[str, Any] = {"accelerator": "L4", "gpus_per_node": 2, "nics_per_node": 0, "vcpus": 2, "memory_mib": 4000}

TRAINS = """
import json, os, fsspec, torch, torch.distributed as dist, gpuyard_hook
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
total = torch.tensor([float(rank + 1)])
dist.all_reduce(total)
print(f"rank {rank} of {world} on node {os.environ['GPUYARD_NODE_RANK']}: sum {total.item():.0f}", flush=True)
if rank == 0:
    with fsspec.open(os.environ["GPUYARD_CHECKPOINT_URL"] + "/3/model.json", "w") as file:
        json.dump({"sum": total.item()}, file)
    gpuyard_hook.report(3, steps=3, loss=0.5)
dist.barrier()
dist.destroy_process_group()
"""

# Counts steps, saves each one, and stops on request: a preemption loses no step.
COUNTS = """
import json, os, sys, time, fsspec, gpuyard_hook
url, attempt = os.environ["GPUYARD_CHECKPOINT_URL"] + "/steps.json", os.environ["GPUYARD_ATTEMPT"]
fs, path = fsspec.core.url_to_fs(url)
step = json.loads(fs.cat_file(path))["step"] if fs.exists(path) else 0
main = os.environ["GPUYARD_NODE_RANK"] == "0"
print("attempt", attempt, "begins at step", step, flush=True)
while step < 4 or attempt == "1":
    if gpuyard_hook.stop_requested():
        if main:  # the one that saves; without torchrun the nodes count each for itself
            print("attempt", attempt, "leaves at step", step, flush=True)
        sys.exit(75)
    step += 1
    if main:
        fs.pipe_file(path, json.dumps({"step": step}).encode())
        gpuyard_hook.report(step, steps=4)
    time.sleep(0.3)
"""

FAILS = """
import os, sys, time
if os.environ["GPUYARD_NODE_RANK"] == sys.argv[1]:
    print("no such file: corpus.txt", flush=True)
    sys.exit(int(sys.argv[2]))
time.sleep(300)
"""


@dataclass
class Yard:
    """The fakes, and a caller that uses them."""

    s3: Moto
    batch: FakeBatch
    logs: FakeLogs
    folder: Path

    def runner(self) -> Runner:
        """Return a runner as a new process would have it."""
        return Runner({"p5": batch_target("s3://runs", **SMALL)}, backend_for=_backend)

    def submit(self, script: str, **keys: Any) -> str:
        """Submit a job of one script without preflight."""
        code = self.folder / "code"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(script)
        document = {"name": "e2e", "preflight": "skip", "timeout": "20m", "command": ["train.py"], **keys}
        return self.runner().submit(parse_job(document), code).status.run_id

    def wait(self, run: str) -> RunStatus:
        """Wait for the end of a run. A failure shows the nodes' output."""
        status = self.runner().wait(run)
        print(self.logs.text())
        return status

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition."""
        wait_for(condition, self.logs.text)


def _backend(target: JobTarget) -> Backend:
    assert isinstance(target, BatchTarget)
    backend = aws_batch.BatchBackend(target)
    backend.poll_s = 0.2
    return backend


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with moto(monkeypatch, "runs") as s3, FakeLogs() as logs:
        logs.group(GROUP)
        # The image's environment: the S3 endpoint, and no metadata service. Credentials come from the job role.
        image = {"AWS_ENDPOINT_URL_S3": s3.url, "GPUYARD_NOTICE": "off", "AWS_EC2_METADATA_DISABLED": "true"}
        with FakeBatch(tmp_path / "nodes", logs, image_env=image) as batch:
            batch.add_queue("yard-p5", nodes=3)
            monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", batch.url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.url)
            yield Yard(s3, batch, logs, tmp_path)


def test_three_nodes_of_two_processes_train_and_leave_a_checkpoint(yard: Yard) -> None:
    run = yard.submit(TRAINS, nodes=3)
    status = yard.wait(run)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0), yard.logs.text()
    output = sorted(line.text for line in yard.runner().logs(run) if " of 6 on node " in line.text)
    assert output == [f"[rank {rank}] rank {rank} of 6 on node {rank // 2}: sum 21" for rank in range(6)]
    assert (status.metrics.step, status.metrics.loss, status.phase) == (3, 0.5, "ended")
    fetched = yard.runner().fetch(run, yard.folder / "fetched")
    assert "checkpoints/3/model.json" in fetched
    assert json.loads((yard.folder / "fetched/checkpoints/3/model.json").read_text()) == {"sum": 21.0}
    results = [json.loads((yard.folder / f"fetched/output/attempt-1/node-{node}.json").read_text()) for node in range(3)]
    assert [result["exit_code"] for result in results] == [0, 0, 0]
    check_no_secret((yard.batch, yard.logs), yard.logs.text(), status.model_dump_json())


def test_a_preempted_job_is_restarted_by_the_service_and_loses_no_step(yard: Yard) -> None:
    run = yard.submit(COUNTS, nodes=2, launcher="none", command=["python3", "train.py"], retries={"preempted": 1})
    steps = f"s3://runs/gpuyard/runs/{run}/checkpoints/steps.json"
    yard.until(lambda: json.loads(read_url(steps) or b'{"step": 0}')["step"] >= 2)
    [job] = yard.batch.jobs.values()
    assert job.live is not None
    job.live.nodes[1].signal(signal.SIGTERM)  # the agent forwards a notice like this
    status = yard.wait(run)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0), yard.logs.text()
    left = next(line for line in yard.logs.text().splitlines() if "leaves at step" in line)
    began = [line for line in yard.logs.text().splitlines() if line.startswith("attempt 2 begins")]
    assert int(began[0].split()[-1]) >= int(left.split()[-1])
    assert len(job.attempts) == 2
    assert len(yard.batch.jobs) == 1
    check_node_lines(yard.runner(), run, attempt=2)


def test_the_preemption_drill_of_make_live_gets_its_second_attempt(yard: Yard) -> None:
    """The fake's containers have no process 1, so the drill's command gets the pid of the container's first process."""
    drill, fifo = dict(JOBS["preemption"]), yard.folder / "first-process"
    os.mkfifo(fifo)
    command = [word.replace("os.kill(1,", f"os.kill(int(open({str(fifo)!r}).read()),") for word in drill["command"]]
    assert command != drill["command"]
    run = yard.submit("", **{**drill, "launcher": "none", "command": command})
    yard.until(lambda: [job for job in yard.batch.jobs.values() if job.live and job.live.nodes[0].process])
    [job] = yard.batch.jobs.values()
    assert job.live is not None
    assert job.live.nodes[0].process is not None
    fifo.write_text(str(job.live.nodes[0].process.pid))
    status = yard.wait(run)
    assert [attempt.nodes[0].exit_code for attempt in job.attempts] == [75, 0], yard.logs.text()
    assert (status.state, len(status.attempts)) == (State.SUCCEEDED, 2)


def test_all_starts_together_respect_the_time_limit_without_a_wait(yard: Yard) -> None:
    leaves = "import sys, time; time.sleep(3); sys.exit(75)"
    run = yard.submit(leaves, launcher="none", command=["python3", "train.py"], retries={"preempted": 9}, timeout="8s")
    [job] = yard.batch.jobs.values()
    yard.until(lambda: job.ended)
    assert [attempt.nodes[0].exit_code for attempt in job.attempts] in ([75, 124], [75, 75, 124]), yard.logs.text()
    status = yard.wait(run)
    assert (status.state, status.reason, exit_for(status.state, status.reason)) == (State.FAILED, Reason.TIMEOUT, Exit.TIMEOUT)


@pytest.mark.parametrize("node", [pytest.param(0, marks=pytest.mark.thorough), 1])
def test_a_failing_node_ends_the_job_with_its_code(yard: Yard, node: int) -> None:
    run = yard.submit(FAILS, nodes=2, launcher="none", command=["python3", "train.py", str(node), "7"])
    status = yard.wait(run)
    assert (status.state, status.reason, status.exit_code) == (State.FAILED, Reason.USER_ERROR, 7), yard.logs.text()
    assert exit_for(status.state, status.reason) is Exit.FAILED
    assert "no such file: corpus.txt" in status.attempts[0].tail
    assert "no such file: corpus.txt" in [line.text for line in yard.runner().logs(run, node=node)]


def test_a_lost_machine_ends_the_job_on_all_nodes(yard: Yard) -> None:
    run = yard.submit(FAILS, nodes=2, launcher="none", command=["python3", "train.py", "9", "7"], retries={"preempted": 0})
    yard.until(lambda: yard.runner().status(run).phase == "running")
    [job] = yard.batch.jobs
    yard.batch.lose(job, 1)
    status = yard.wait(run)
    assert (status.state, status.reason) == (State.STOPPED, Reason.PREEMPTED), yard.logs.text()
