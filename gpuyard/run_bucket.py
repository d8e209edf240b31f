"""The object prefixes in a run bucket. Every cloud's roles allow writing only below some of these prefixes.

Jobs write only below RUNS. They can only read below SUBMISSIONS and CODE, because submitters trust the objects there.
"""

from __future__ import annotations

__all__ = ["CODE", "JOBS_WRITE", "QUEUES", "RUNS", "SUBMISSIONS", "SUBMITTERS_WRITE", "TARGETS"]

TARGETS = "gpuyard/targets.json"
"""The job targets by pool, written by `pulumi up`. Submitters without access to Pulumi's state read this file, so its path never
changes."""
CODE = "gpuyard/code/"
"""Code tarballs, written by submitters."""
SUBMISSIONS = "gpuyard/submissions/"
"""Run records, written by submitters."""
RUNS = "gpuyard/runs/"
"""Checkpoints, output, progress and results, written by jobs."""
QUEUES = "gpuyard/queues/"
"""Queues of Slurm clusters, one folder for each pool: tickets by submitters, reports by the cluster's head."""
SUBMITTERS_WRITE = (CODE, SUBMISSIONS)
JOBS_WRITE = (RUNS,)
