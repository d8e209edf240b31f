"""The hosts of one training job as processes on addresses of their own, their output in CloudWatch, nothing left behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from .sagemaker import FakeSageMaker

from training_jobs.launch.meeting import free_port


class Hosts:
    """One container on each host, started together. A host's name is its address here: algo-1 resolves in SageMaker's own network alone."""

    def __init__(self, fake: FakeSageMaker, body: dict[str, Any], turn: int) -> None:
        self._fake, self._name, self._turn = fake, str(body["TrainingJobName"]), turn
        self._folder = fake.folder / self._name
        count = body["ResourceConfig"]["InstanceCount"]
        number = list(fake.jobs).index(self._name)
        names = [f"127.{100 + os.getpid() % 100}.{number % 250}.{10 + host}" for host in range(count)]
        if sys.platform != "linux":
            names = ["127.0.0.1"] * count
        port = str(free_port(names[0]))
        self.failed: int | None = None  # the code of the container that failed first
        self._pumps: list[threading.Thread] = []
        self._processes = []
        for host, name in enumerate(names):
            placed = {"SM_HOSTS": json.dumps(names), "SM_CURRENT_HOST": name, "SM_NETWORK_INTERFACE_NAME": "lo", "GPUYARD_PORT": port}
            self._processes.append(self._start(body, turn, host, placed))

    @property
    def ended(self) -> bool:
        """Whether every container has exited, or one has failed: then the job is over."""
        codes = [process.poll() for process in self._processes]
        failed = next((code for code in codes if code), None)
        if failed is not None and self.failed is None:
            self.failed = failed if failed > 0 else 128 - failed
        return self.failed is not None or all(code is not None for code in codes)

    def end(self, grace_s: float) -> None:
        """SIGTERM to what is left, SIGKILL after the grace."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes):
            time.sleep(0.02)
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a container goes with all that is in it
            process.wait()
        for pump in self._pumps:
            pump.join(30)

    def upload(self, body: dict[str, Any]) -> None:
        """What the containers left for SageMaker to keep."""
        left = [path for path in self._folder.glob(f"{self._turn}-algo-*/ml/output/data/**/*") if path.is_file()]
        if not left:
            return
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w:gz") as tar:
            for path in left:
                tar.add(path, str(path).split("/ml/output/data/", 1)[1])
        bucket, key = _place(f"{body['OutputDataConfig']['S3OutputPath']}/{self._name}/output/output.tar.gz")
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=raw.getvalue())

    def _start(self, body: dict[str, Any], turn: int, host: int, placed: dict[str, str]) -> subprocess.Popen[bytes]:
        algorithm = body["AlgorithmSpecification"]
        folder = self._folder / f"{turn}-algo-{host + 1}"
        folder.mkdir(parents=True)
        _fetch(body, folder / "ml/input/data")
        (folder / "ml/output/data").mkdir(parents=True)
        asked = {key: value.replace("/opt/ml/", f"{folder}/ml/") for key, value in body.get("Environment", {}).items()}
        reaches = {} if body.get("EnableNetworkIsolation") else self._fake.environment  # the role's credentials, the way to the services
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "TRAINING_JOB_NAME": self._name,
            "AWS_REGION": self._fake.region, "PYTHONDONTWRITEBYTECODE": "1", **reaches, **asked, **placed,
        }  # fmt: skip
        argv = [*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", ())]
        process = subprocess.Popen(
            argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        stream = f"{self._name}/algo-{host + 1}-{int(time.time())}{turn}"
        pump = threading.Thread(target=self._pump, args=(process, stream), daemon=True)
        pump.start()
        self._pumps.append(pump)
        return process

    def _pump(self, process: subprocess.Popen[bytes], stream: str) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                self._fake.logs.write(self._fake.group, stream, line.decode("utf-8", "replace").rstrip("\n"))


def _fetch(body: dict[str, Any], into: Path) -> None:
    """Copy the input channels as SageMaker does: every object with the prefix, by its last name."""
    for channel in body.get("InputDataConfig", ()):
        bucket, prefix = _place(channel["DataSource"]["S3DataSource"]["S3Uri"])
        client = boto3.client("s3")
        (into / channel["ChannelName"]).mkdir(parents=True)
        for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            client.download_file(bucket, entry["Key"], str(into / channel["ChannelName"] / entry["Key"].rsplit("/", 1)[-1]))


def _place(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key
