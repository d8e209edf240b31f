"""The live smoke test, which needs an account, run against the fakes."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
import pytest

from gpuyard.training_jobs.runner import Runner
from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.aws.moto_server import moto
from tests.helpers.batch_pool import GROUP, batch_target
from tests.live import test_aws as live

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own is Linux's")


def test_the_live_smoke_test_submits_one_job_and_removes_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with moto(monkeypatch, "runs") as s3, FakeLogs() as logs:
        logs.group(GROUP)
        image = {"AWS_ENDPOINT_URL_S3": s3.url, "GPUYARD_NOTICE": "off", "AWS_EC2_METADATA_DISABLED": "true"}
        with FakeBatch(tmp_path / "nodes", logs, image_env=image) as batch:
            batch.add_queue("yard-p5", nodes=1)
            monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", batch.url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.url)
            price = {"usd_per_node_hour": 1.0, "source": "list price"}
            small = {"gpus_per_node": 0, "accelerator": None, "nics_per_node": 0, "vcpus": 1, "memory_mib": 1000}
            target = batch_target("s3://runs", price=price, **small)
            runner, runs = Runner({"p5": target}), list[str]()
            live.test_a_job_of_a_minute((runner, runs), {"p5": target}, "p5")
            assert len(batch.jobs) == len(runs) == 1

            def left(folder: str) -> int:
                return int(boto3.client("s3").list_objects_v2(Bucket="runs", Prefix=f"gpuyard/{folder}/")["KeyCount"])

            assert left("submissions") > 0
            assert left("runs") > 0
            live.remove(runner, runs[0])
            assert left("submissions") == left("runs") == 0
