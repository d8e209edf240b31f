"""The layout of a run bucket: the paths below `gpuyard/` that submitters read or write. docs/architecture.md has each writer.

gpuyard/targets.json                          the targets of jobs, written by `pulumi up`
gpuyard/code/<sha256>.tar.gz                  code tarballs, by content
gpuyard/submissions/<run_id>/run.json         the run record (lifecycle/journal.py)
gpuyard/runs/<run_id>/attempts/<n>.json       attempt n, claimed by launch on node 0
gpuyard/runs/<run_id>/output/attempt-<n>/     what the nodes of attempt n wrote: progress, preflight, exit codes, files
gpuyard/runs/<run_id>/checkpoints/<step>/     checkpoints of all attempts
gpuyard/runs/<run_id>/logs/<n>/node-<rank>/   output of the nodes of submission n, on services without a log of their own
gpuyard/queues/<pool>/                        the queue of a Slurm cluster (mailbox.py)

A job's role can write below `gpuyard/runs/` only (gpuyard/run_bucket.py). Readers do not trust what lies there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from ..run_bucket import CODE, QUEUES, RUNS, SUBMISSIONS

__all__ = [
    "MOST_CLAIMS",
    "attempt_numbers",
    "attempt_path",
    "attempts_path",
    "claimed_attempts",
    "code_path",
    "is_run_id",
    "logs_path",
    "output_path",
    "queue_path",
    "record_path",
    "record_url",
    "records_path",
    "run_path",
    "run_url",
    "split_run_url",
]

_RUN_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?-[0-9a-f]{12}")
_ATTEMPT = re.compile(r"(0|[1-9][0-9]{0,8})\.json")
_MOST_ATTEMPTS = 200
MOST_CLAIMS = 10_000
"""Largest number of objects in a run's folder `attempts/`. If there are more, a job has planted them."""


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run id. Callers ignore objects with other names."""
    return _RUN_ID.fullmatch(text) is not None


def records_path() -> str:
    """Return the folder of the run records. It has one folder for each run."""
    return SUBMISSIONS.rstrip("/")


def record_path(run_id: str) -> str:
    """Return the path of a run's record, relative to its bucket."""
    return f"{SUBMISSIONS}{run_id}/run.json"


def record_url(run_bucket: str, run_id: str) -> str:
    """Return the URL of a run's record."""
    return f"{run_bucket.rstrip('/')}/{record_path(run_id)}"


def run_path(run_id: str) -> str:
    """Return the folder in which a run's nodes write, relative to its bucket."""
    return f"{RUNS}{run_id}"


def attempts_path(run_id: str) -> str:
    """Return the folder of the attempts that nodes claimed."""
    return f"{run_path(run_id)}/attempts"


def attempt_path(run_id: str, attempt: int) -> str:
    """Return the path of one claimed attempt."""
    return f"{attempts_path(run_id)}/{attempt}.json"


def output_path(run_id: str, attempt: int) -> str:
    """Return the folder in which the nodes of one attempt write."""
    return f"{run_path(run_id)}/output/attempt-{attempt}"


def logs_path(run_id: str, ordinal: str) -> str:
    """Return the folder of the nodes' output in one submission. `ordinal`: Run.ordinal."""
    return f"{run_path(run_id)}/logs/{ordinal}"


def queue_path(pool: str) -> str:
    """Return the folder of a Slurm pool's queue."""
    return f"{QUEUES}{pool}"


def code_path(sha256: str) -> str:
    """Return the path of a code tarball; `sha256` is the digest of its bytes, in hex."""
    return f"{CODE}{sha256}.tar.gz"


def run_url(run_bucket: str, run_id: str) -> str:
    """Return the URL of the folder in which a run's nodes write."""
    return f"{run_bucket.rstrip('/')}/{run_path(run_id)}"


def split_run_url(url: str) -> tuple[str, str] | None:
    """Split a run's URL into the run bucket's URL and the run id. Returns None for any other URL."""
    bucket, _, run_id = url.partition(f"/{RUNS}")
    return (bucket, run_id) if run_id else None


def attempt_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of attempts among the names in `attempts/`, ascending; other names are ignored."""
    return sorted({int(found[1]) for name in names if (found := _ATTEMPT.fullmatch(name))})


def claimed_attempts(numbers: Collection[int], first: int) -> list[int]:
    """Return the attempt numbers of a submission, ascending, at most the newest 200. `first`: the submission's first attempt number.

    Nodes claim the lowest free number. So a number after a gap was planted by a job, and is ignored.
    """
    taken, end = set(numbers), first
    while end in taken:
        end += 1
    return list(range(max(first, end - _MOST_ATTEMPTS), end))
