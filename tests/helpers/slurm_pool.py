"""A pool on the real Slurm cluster of this machine, with its head in a thread."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuyard.training_jobs.errors import GpuyardError
from gpuyard.training_jobs.head.agent import Head
from gpuyard.training_jobs.head.slurm import SlurmCommands
from gpuyard.training_jobs.head.target import queue_target
from gpuyard.training_jobs.mailbox import Mailbox
from gpuyard.training_jobs.store import open_store
from gpuyard.training_jobs.target import JobTarget, parse_targets
from tests.helpers.slurm_cluster import Cluster

__all__ = ["commands", "head", "make_target"]


def make_target(folder: Path) -> JobTarget:
    """Return the target that the head publishes, and make its run bucket."""
    bucket = f"file://{folder}/bucket"
    (folder / "bucket").mkdir(exist_ok=True)
    return parse_targets(json.loads(queue_target(bucket, "dgx", "gpu", 2, 0, None)), "a test")["dgx"]


def commands(cluster: Cluster, folder: Path) -> SlurmCommands:
    """Return Slurm's commands for the cluster, with this interpreter on its nodes."""
    (folder / "slurm").mkdir(exist_ok=True)
    return SlurmCommands("gpu", folder / "slurm", sys.executable, environment=cluster.environment)


@contextmanager
def head(cluster: Cluster, bucket: Path, folder: Path, advance: Callable[[str], None] = lambda _: None) -> Iterator[list[GpuyardError]]:
    """Serve the queue of a run bucket in a thread. Yields the errors of its turns. `advance`: Runner.advance, or nothing."""
    mailbox, slurm = Mailbox(open_store(bucket.as_uri()), "dgx"), commands(cluster, folder)
    served = Head(mailbox, slurm, say=lambda _: None, heartbeat_s=0.5, advance=advance)
    served.take_over()
    stop, errors = threading.Event(), list[GpuyardError]()

    def turn() -> None:
        while not stop.wait(0.1):
            try:
                served.turn()
            except GpuyardError as error:
                errors.append(error)

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield errors
    finally:
        stop.set()
        thread.join(30)
