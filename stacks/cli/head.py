"""`gpuyard head`: serves the queue of a pool from a machine of a Slurm cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    queue: Annotated[str, typer.Option(metavar="URL", help="Queue to serve: <run bucket>/gpuyard/queues/<pool>.", show_default=False)],
    partition: Annotated[str, typer.Option(help="Partition that runs the jobs.", show_default=False)],
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of one node.")] = 0,
    accelerator: Annotated[
        str | None, typer.Option(help="GPU model, as jobs name it in `gpus:`, such as H100; default: none.", show_default=False)
    ] = None,
    python: Annotated[str, typer.Option(help="Python on the nodes, with torch.")] = "python3",
    work_dir: Annotated[Path, typer.Option(help="Folder that the nodes share, for output of jobs before their script starts.")] = Path(
        "~/gpuyard-jobs"
    ),
    account: Annotated[str | None, typer.Option(help="Account of the jobs; default: the user's.", show_default=False)] = None,
    qos: Annotated[str | None, typer.Option(help="Quality of service of the jobs; default: the partition's.", show_default=False)] = None,
) -> None:
    """Give the jobs of a queue to Slurm until stopped. Run it where sbatch works, as the user of the jobs; it needs no open port."""
    import time
    from json import loads

    from gpuyard.training_jobs.head.agent import Head, serve
    from gpuyard.training_jobs.head.slurm import SlurmCommands
    from gpuyard.training_jobs.head.target import queue_target, split_queue_url
    from gpuyard.training_jobs.mailbox import Mailbox
    from gpuyard.training_jobs.runner import Runner
    from gpuyard.training_jobs.store import open_store
    from gpuyard.training_jobs.target import parse_targets

    bucket, pool = split_queue_url(queue)
    folder = work_dir.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    slurm = SlurmCommands(partition, folder, python, account, qos)
    slurm.check()
    mailbox = Mailbox(open_store(bucket), pool)
    targets = queue_target(bucket, pool, partition, slurm.partition().nodes, gpus_per_node, accelerator)
    head = Head(mailbox, slurm, advance=Runner(parse_targets(loads(targets), queue)).advance)
    mailbox.write_targets(targets)
    head.say(f"serving {queue}; submit with gpuyard submit JOB.yaml --targets {queue}/targets.json")
    serve(head, time.sleep)
