"""Who may change what in a run bucket, evaluated over the policies that the components of every cloud generate.

A job cannot change an object that submitters obey, and can write every object that it has to write. Submitters cannot change what
jobs wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from gpuyard.run_bucket import TARGETS
from gpuyard.training_jobs.run_layout import attempt_path, code_path, output_path, record_path, run_path
from tests.helpers import aws_sample_yard, azure_sample_yard, gcp_sample_yard
from tests.helpers.bucket_rights import BLOB_CHANGES, BLOBS, GCS_CHANGES, S3_CHANGES, Right, aws_rights, azure_rights, gcp_rights

RUN = "llm-0a1b2c3d4e5f"
OBEYED = (TARGETS, code_path("0" * 64), record_path(RUN), record_path("planted-0a1b2c3d4e5f"))
"""What submitters and nodes act on."""
WRITTEN_BY_JOBS = (
    attempt_path(RUN, 1),
    f"{output_path(RUN, 1)}/progress.json",
    f"{output_path(RUN, 1)}/node-0.json",
    f"{run_path(RUN)}/checkpoints/400/commit-1.json",
    f"{run_path(RUN)}/sagemaker/job/output/model.tar.gz",
    f"{run_path(RUN)}/sagemaker-checkpoints/1",
    f"{run_path(RUN)}/vertex/model",
)
OF_NOBODY = ("gpuyard/runs", "gpuyard/runs-2/x", "gpuyard/submissions", "gpuyard/other/x", "corpus/x", "x")


@dataclass(frozen=True)
class Cloud:
    """A sample yard and the beginnings of the names of the principals that may change objects of its run bucket."""

    declare: Callable[[], object]
    rights: Callable[[Any], Mapping[str, Right]]
    changes: Sequence[str]
    create: str  # the action that creates an object
    read: str
    jobs: tuple[str, ...]
    submitter: str


CLOUDS = {
    "aws": Cloud(
        aws_sample_yard.declare,
        lambda recorded: aws_rights(recorded, "runs-bucket-id"),
        S3_CHANGES,
        "s3:PutObject",
        "s3:GetObject",
        ("train-job-policy", "train-lab-buckets", "train-training-policy"),
        "train-submitter-policy",
    ),
    "gcp": Cloud(
        gcp_sample_yard.declare,
        lambda recorded: gcp_rights(recorded, "runs-bucket"),
        GCS_CHANGES,
        "storage.objects.create",
        "storage.objects.get",
        ("serviceAccount:lab-node-", "serviceAccount:train-job-"),
        "serviceAccount:train-submitter-",
    ),
    "azure": Cloud(
        azure_sample_yard.declare,
        lambda recorded: azure_rights(recorded, "/runs"),
        BLOB_CHANGES,
        f"{BLOBS}/write",
        f"{BLOBS}/read",
        ("h100-node-identity-principal", "lab-node-identity-principal"),
        "train-submitter-identity-principal",
    ),
}


def may_change(right: Right, changes: Sequence[str], path: str) -> list[str]:
    return [action for action in changes if right(action, path)]


@pytest.mark.parametrize("name", CLOUDS)
def test_jobs_cannot_change_objects_that_submitters_obey(record: Any, name: str) -> None:
    cloud = CLOUDS[name]
    rights = cloud.rights(record(cloud.declare))
    writers = {who: right for who, right in rights.items() if right(cloud.create, WRITTEN_BY_JOBS[0])}
    assert sorted(begin for begin in cloud.jobs for who in writers if who.startswith(begin)) == list(cloud.jobs)
    assert len(writers) == len(cloud.jobs)
    for who, right in writers.items():
        assert [path for path in WRITTEN_BY_JOBS if not right(cloud.create, path)] == [], who
        assert [path for path in OBEYED if not right(cloud.read, path)] == [], who
    [submitter] = [who for who in rights if who.startswith(cloud.submitter)]
    for who, right in rights.items():
        allowed = {path: actions for path in (*OBEYED, *OF_NOBODY) if (actions := may_change(right, cloud.changes, path))}
        assert allowed.keys() == (set(OBEYED[1:]) if who == submitter else set()), (who, allowed)
    assert [path for path in WRITTEN_BY_JOBS if may_change(rights[submitter], cloud.changes, path)] == []
