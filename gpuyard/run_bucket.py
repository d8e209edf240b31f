"""The prefixes of a run bucket. Roles and conditions on every cloud grant writing by them.

Submitters obey what lies below SUBMISSIONS and CODE, so jobs can only read it. Jobs write below RUNS and nowhere else.
"""

from __future__ import annotations

__all__ = ["CODE", "JOBS_WRITE", "RUNS", "SUBMISSIONS", "SUBMITTERS_WRITE", "TARGETS"]

TARGETS = "gpuyard/targets.json"
"""The job targets by pool, written by `pulumi up`. Submitters without access to Pulumi's state read it, so its path never changes."""
CODE = "gpuyard/code/"
"""Code tarballs, written by submitters."""
SUBMISSIONS = "gpuyard/submissions/"
"""Run records, written by submitters."""
RUNS = "gpuyard/runs/"
"""Checkpoints, output, progress and results, written by jobs."""
SUBMITTERS_WRITE = (CODE, SUBMISSIONS)
JOBS_WRITE = (RUNS,)
