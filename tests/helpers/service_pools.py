"""A pool of 2 nodes of every service behind one interface, for the contract tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends import aws_batch, base, load_backend, local
from gpuyard.training_jobs.backends.base import Backend
from gpuyard.training_jobs.backends.local import spawn
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.status import RunStatus
from gpuyard.training_jobs.target import BatchTarget, JobTarget
from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.azure.blob_storage import signed_in
from tests.helpers.azureml_pool import hosts, service
from tests.helpers.azureml_pool import make_target as azureml_target
from tests.helpers.batch_pool import GROUP, batch_target, call_as_a_pipeline
from tests.helpers.local_pool import job, make_target
from tests.helpers.runner_steps import wait_for_state
from tests.helpers.sagemaker_pool import make_target as sagemaker_target
from tests.helpers.sagemaker_pool import yard as sagemaker_yard
from tests.helpers.slurm_cluster import scheduler
from tests.helpers.slurm_pool import head
from tests.helpers.slurm_pool import make_target as slurm_target
from tests.helpers.vertex_pool import make_target as vertex_target
from tests.helpers.vertex_pool import yard as vertex_yard
from tests.helpers.waiting import wait_for

# The program of a node: at each start it takes the next order of the job's env and prints that it runs. A nap lasts a number of
# seconds. `released`: it lasts until the test releases the node.
PROGRAM = """
import datetime, json, os, sys, time, urllib.parse
url = urllib.parse.urlsplit(os.environ["GPUYARD_RUN_URL"])
run = os.environ.get("TESTS_FOLDER", "") + url.path
os.makedirs(run, exist_ok=True)
record_url = urllib.parse.urlsplit(os.environ["GPUYARD_RECORD_URL"])
if url.scheme == "s3":
    import boto3
    boto3.client("s3").download_file(url.netloc, record_url.path[1:], os.path.join(run, f"run.json-{os.getpid()}"))
    record = json.load(open(os.path.join(run, f"run.json-{os.getpid()}")))
elif url.scheme == "gs":
    import urllib.request
    object = urllib.parse.quote(record_url.path[1:], safe="")
    place = f"{os.environ['STORAGE_EMULATOR_HOST']}/download/storage/v1/b/{url.netloc}/o/{object}?alt=media"
    token = open(os.environ["TESTS_TOKEN"]).read()
    record = json.load(urllib.request.urlopen(urllib.request.Request(place, headers={"Authorization": f"Bearer {token}"})))
else:
    record = json.load(open(os.environ.get("TESTS_FOLDER", "") + record_url.path))
record = record["submissions"][int(os.environ["GPUYARD_SUBMISSION"])]
rank = int(os.environ.get("AWS_BATCH_JOB_NODE_INDEX", os.environ.get("GPUYARD_NODE_RANK", "0")))
if "AZUREML_RUN_ID" in os.environ:
    rank, real = int(os.environ["NODE_RANK"]), print
    def print(*words, **options):  # like launch, because this service's logs have no times
        real(datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), *words, **options)
if "SM_HOSTS" in os.environ:
    rank = sorted(json.loads(os.environ["SM_HOSTS"])).index(os.environ["SM_CURRENT_HOST"])
if "CLUSTER_SPEC" in os.environ:
    task = json.loads(os.environ["CLUSTER_SPEC"])["task"]
    rank = task["index"] + (task["type"] != "workerpool0")
if "SLURM_PROCID" in os.environ:
    rank, printed = int(os.environ["SLURM_PROCID"]), 0
    def print(*words, **options):  # like launch, because this service has no log of its own
        global printed
        folder = urllib.parse.urlsplit(os.environ["GPUYARD_LOGS_URL"]).path + f"/node-{rank}"
        os.makedirs(folder, exist_ok=True)
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with open(f"{folder}/.tmp-part", "w") as part:
            part.write(f"{stamp} {' '.join(map(str, words))}\\n")
        os.rename(f"{folder}/.tmp-part", f"{folder}/{int(time.time() * 1000):013d}-{printed:06d}.log")
        printed += 1
file = os.path.join(run, f"ran-{rank}")
before = open(file).read().count("x") if os.path.exists(file) else 0
open(file, "a").write("x")
print("node", rank, "runs", flush=True)
orders = record["job"]["env"].get("ORDERS", "0:0").split(",")
nap, code = orders[min(before, len(orders) - 1)].split(":")
until = time.time() + (120 if nap == "released" else float(nap))
while time.time() < until and not (nap == "released" and os.path.exists(os.path.join(run, "go"))):
    time.sleep(min(0.02, max(0.0, until - time.time())))
print("node", rank, "was never released" if nap == "released" and time.time() >= until else "ends", flush=True)
open(os.path.join(run, f"done-{rank}"), "a").write("x")
others = [os.path.join(run, f"done-{other}") for other in range(1, record["job"]["nodes"])]
until = time.time() + 60
while rank == 0 and time.time() < until and not all(os.path.exists(name) and open(name).read().count("x") > before for name in others):
    time.sleep(0.02)  # like launch's node 0, whose exit ends the job
sys.exit(int(code))
"""


@dataclass
class Yard:
    """One service with a pool of 2 nodes, and its properties that tests depend on."""

    target: JobTarget
    backend_for: Callable[[JobTarget], Backend]
    folder: Path
    short: str  # a time limit of about a second
    remove_machines: Callable[[], dict[str, str]]  # removes all machines; returns the job's keys with which the service stops waiting
    now: float = 0.0
    serve: Callable[[Path], None] = lambda _: None  # starts what the service needs for another run bucket

    @property
    def runner(self) -> Runner:
        """Return a new runner, as a new process would create it."""
        return Runner({self.target.pool: self.target}, backend_for=self.backend_for, clock=lambda: time.time() + self.now)

    def prepare_bucket(self) -> None:
        """Create the run bucket of a changed target if its buckets are folders."""
        if self.target.run_bucket.startswith("file://"):
            bucket = Path(self.target.run_bucket.removeprefix("file://"))
            bucket.mkdir()
            self.serve(bucket)

    def start(self, orders: str = "0:0", key: str | None = None, **keys: Any) -> str:
        """Submit a job. `orders`: the nap and the exit code of each start, such as `1.5:75,0:0`."""
        return self.runner.submit(job(env={"ORDERS": orders}, **keys), None, key=key).status.run_id

    def starts(self, run: str, node: int = 0) -> int:
        """Return the number of starts of a node."""
        file = self.folder / "bucket/gpuyard/runs" / run / f"ran-{node}"
        return file.read_text().count("x") if file.exists() else 0

    def release(self, run: str) -> None:
        """End the nap of the nodes with the order `released`."""
        (self.folder / "bucket/gpuyard/runs" / run / "go").touch()

    def wait_for_state(self, run: str, state: State) -> RunStatus:
        """Wait for a state."""
        return wait_for_state(self.runner, run, state)

    def until_started(self, run: str, nodes: int = 1) -> None:
        """Wait until the nodes' programs run: an earlier signal would find no handler."""

        def all_run() -> bool:
            self.runner.status(run)  # advances a queue that no other process advances
            return all(self.starts(run, node) for node in range(nodes))

        wait_for(all_run)


def _local(folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Yard:
    (folder / "program.py").rename(folder / "node_program.py")
    monkeypatch.setattr(spawn, "_SUPERVISOR", "tests.helpers.local_supervisor")
    monkeypatch.setattr(local, "GRACE_S", 1)
    yard = Yard(make_target(folder), load_backend, folder, "1s", lambda: {})

    def remove_machines() -> dict[str, str]:
        yard.start("120:0", nodes=2, name="first")
        return {"queue_timeout": "1s"}

    yard.remove_machines = remove_machines
    return yard


def _batch(folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Yard:
    monkeypatch.setattr(base, "BOOTSTRAP", folder / "program.py")
    logs = stack.enter_context(FakeLogs(page=3, gaps=True))
    logs.group(GROUP)
    fake = stack.enter_context(FakeBatch(folder / "nodes", logs, speed=60, stop_s=1))
    limit = {"reason": "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", "state": "RUNNABLE", "maxTimeSeconds": 60, "action": "CANCEL"}
    queue = fake.add_queue("yard-p5", nodes=2, limits=[limit])
    call_as_a_pipeline(monkeypatch, batch=fake.url, cloudwatch_logs=logs.url)
    (folder / "bucket").mkdir()

    def backend(target: JobTarget) -> Backend:
        assert isinstance(target, BatchTarget)
        made = aws_batch.BatchBackend(target, sleep=lambda _: None)
        made.poll_s = 0.05
        return made

    def remove_machines() -> dict[str, str]:
        queue.starved = True
        return {}

    return Yard(batch_target(f"file://{folder}/bucket", max_nodes=2), backend, folder, "60s", remove_machines)


def _sagemaker(folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Yard:
    """Set up SageMaker with the record on S3, the only store it supports."""
    services = stack.enter_context(sagemaker_yard(folder, monkeypatch, program=PROGRAM, grace_s=2, page=3, gaps=True))
    services.sagemaker.environment["TESTS_FOLDER"] = str(folder / "bucket")
    services.sagemaker.machines = 2

    def remove_machines() -> dict[str, str]:
        services.sagemaker.machines = 0
        services.sagemaker.longest_pending_s = lambda stopping: 1.0
        return {}

    return Yard(sagemaker_target(), load_backend, folder, "4s", remove_machines)


def _azureml(folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Yard:
    workspace = stack.enter_context(service(folder, monkeypatch, program=PROGRAM, grace_s=2))
    stack.enter_context(signed_in(folder, monkeypatch, hosts(workspace)))
    (folder / "bucket").mkdir()

    def remove_machines() -> dict[str, str]:
        workspace.machines = 0
        return {"queue_timeout": "1s"}

    return Yard(azureml_target(f"file://{folder}/bucket"), load_backend, folder, "4s", remove_machines)


def _vertex(folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Yard:
    """Set up Vertex AI with the record on Cloud Storage, the only store it supports."""
    services = stack.enter_context(vertex_yard(folder, monkeypatch, program=PROGRAM, grace_s=2, page=3, gaps=True))
    (folder / "token").write_text(services.tokens.issue())
    services.vertex.environment |= {"TESTS_FOLDER": str(folder / "bucket"), "TESTS_TOKEN": str(folder / "token")}
    services.vertex.machines = 2

    def remove_machines() -> dict[str, str]:
        services.vertex.machines, services.vertex.stockout_s = 0, 1.0
        return {}

    return Yard(vertex_target(), load_backend, folder, "4s", remove_machines)


def _slurm(folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Yard:
    """Set up the real Slurm of this machine."""
    monkeypatch.setattr(base, "BOOTSTRAP", folder / "program.py")
    cluster = stack.enter_context(scheduler())
    target = slurm_target(folder)
    stack.enter_context(head(cluster, folder / "bucket", folder))

    def backend(target: JobTarget) -> Backend:
        made = load_backend(target)
        made.poll_s = 0.1
        return made

    def remove_machines() -> dict[str, str]:
        cluster.drain()
        return {"queue_timeout": "1s"}

    def serve(bucket: Path) -> None:
        stack.enter_context(head(cluster, bucket, folder))

    return Yard(target, backend, folder, "4s", remove_machines, serve=serve)


MAKERS = {"local": _local, "batch": _batch, "sagemaker": _sagemaker, "vertex": _vertex, "azureml": _azureml, "slurm": _slurm}
"""Service -> function of (folder, monkeypatch, exit stack) that returns the service's Yard."""
