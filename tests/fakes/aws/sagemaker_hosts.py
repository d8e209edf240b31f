"""The hosts of one fake training job: processes on addresses of their own, with their output in CloudWatch Logs."""

from __future__ import annotations

import functools
import io
import json
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from tests.fakes.containers import EqualContainers, addresses
from tests.helpers.ports import free_port

if TYPE_CHECKING:
    from tests.fakes.aws.sagemaker import FakeSageMaker


class Hosts(EqualContainers):
    """One container per host, started together. A host's name is its address, because algo-1 resolves only in SageMaker's network."""

    def __init__(self, fake: FakeSageMaker, body: dict[str, Any], turn: int) -> None:
        super().__init__()
        self._fake, self._name, self._turn = fake, str(body["TrainingJobName"]), turn
        self._folder = fake.folder / self._name
        names = addresses(body["ResourceConfig"]["InstanceCount"], list(fake.jobs).index(self._name))
        port = str(free_port(names[0]))
        for host, name in enumerate(names):
            placed = {"SM_HOSTS": json.dumps(names), "SM_CURRENT_HOST": name, "SM_NETWORK_INTERFACE_NAME": "lo", "GPUYARD_PORT": port}
            self._add(body, host, placed)

    def upload(self, body: dict[str, Any]) -> None:
        """Upload the containers' output as SageMaker does."""
        left = [path for path in self._folder.glob(f"{self._turn}-algo-*/ml/output/data/**/*") if path.is_file()]
        if not left:
            return
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w:gz") as tar:
            for path in left:
                tar.add(path, str(path).split("/ml/output/data/", 1)[1])
        bucket, key = _bucket_and_key(f"{body['OutputDataConfig']['S3OutputPath']}/{self._name}/output/output.tar.gz")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=raw.getvalue())

    def _add(self, body: dict[str, Any], host: int, placed: dict[str, str]) -> None:
        algorithm = body["AlgorithmSpecification"]
        folder = self._folder / f"{self._turn}-algo-{host + 1}"
        _fetch(body, folder / "ml/input/data")
        (folder / "ml/output/data").mkdir(parents=True)
        job_variables = {key: value.replace("/opt/ml/", f"{folder}/ml/") for key, value in body.get("Environment", {}).items()}
        reaches = {} if body.get("EnableNetworkIsolation") else self._fake.environment  # the role's credentials, and the endpoints
        env = {"TRAINING_JOB_NAME": self._name, "AWS_REGION": self._fake.region, **reaches, **job_variables, **placed}
        stream = f"{self._name}/algo-{host + 1}-{int(time.time())}{self._turn}"
        write_line = functools.partial(self._fake.logs.write, self._fake.group, stream)
        self.start([*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", ())], env, folder, write_line)


def _fetch(body: dict[str, Any], into: Path) -> None:
    """Copy the input channels as SageMaker does: every object with the prefix, under the last part of its key."""
    for channel in body.get("InputDataConfig", ()):
        bucket, prefix = _bucket_and_key(channel["DataSource"]["S3DataSource"]["S3Uri"])
        client = boto3.client("s3")
        (into / channel["ChannelName"]).mkdir(parents=True)
        for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            client.download_file(bucket, entry["Key"], str(into / channel["ChannelName"] / entry["Key"].rsplit("/", 1)[-1]))


def _bucket_and_key(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key
