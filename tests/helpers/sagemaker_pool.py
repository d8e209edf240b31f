"""A SageMaker pool behind the fakes, with the standard endpoint variables set and a runner for its target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends import base
from gpuyard.training_jobs.backends.sagemaker import SageMakerBackend
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.target import JobTarget, parse_target
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.aws.moto_server import Moto, moto
from tests.fakes.aws.sagemaker import GROUP, FakeSageMaker

IMAGE = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/train@sha256:{'a' * 64}"
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def target_document(**changes: Any) -> dict[str, Any]:
    """Return JobTarget v1 of a pool of 2 machines that SageMaker allocates."""
    return {
        "version": 1,
        "kind": "sagemaker",
        "stack": "gpuyard/prod",
        "pool": "h100",
        "run_bucket": "s3://runs",
        "buckets": {"runs": "s3://runs"},
        "machine": "g6.12xlarge",
        "accelerator": "L4",
        "gpus_per_node": 4,
        "nics_per_node": 0,
        "min_nodes": 0,
        "max_nodes": 2,
        "price": {"usd_per_node_hour": 36.0, "source": "the stack's own rate"},
        "secrets": {},
        "default_image": IMAGE,
        "region": "us-east-1",
        "account_id": "123456789012",
        "spot": False,
        "encryption_key": None,
        "instance_type": "ml.g6.12xlarge",
        "role": "arn:aws:iam::123456789012:role/gpuyard-training",
        "subnet_ids": ["subnet-0a"],
        "security_group_ids": ["sg-0a"],
        "log_group": GROUP,
        "job_prefix": "gpuyard-d6d45572-",
        **changes,
    }


def make_target(**changes: Any) -> JobTarget:
    """Return the target of the pool, validated."""
    return parse_target(target_document(**changes))


@dataclass
class Yard:
    """The services of the account, and the folder of the containers."""

    sagemaker: FakeSageMaker
    logs: FakeLogs
    moto: Moto
    folder: Path

    def runner(self, **changes: Any) -> Runner:
        """Return a runner for the pool, with `changes` of its target's fields."""
        return Runner({"h100": make_target(**changes)})


@contextmanager
def yard(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, program: str | None = None, grace_s: float = 30.0, **logs_as: Any
) -> Iterator[Yard]:
    """Run all services. `program`: runs in a container instead of the bootstrap, in tests of the service alone."""
    if program is not None:
        (folder / "program.py").write_text(program)
        monkeypatch.setattr(base, "BOOTSTRAP", folder / "program.py")
    monkeypatch.setattr(SageMakerBackend, "poll_s", 0.05)
    with moto(monkeypatch, "runs") as server, FakeLogs(**logs_as) as logs:
        environment = {**server.environment(), "AWS_ENDPOINT_URL_LOGS": logs.url}
        with FakeSageMaker(folder / "hosts", logs, environment, grace_s=grace_s) as fake:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER", fake.url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.url)
            yield Yard(fake, logs, server, folder)
