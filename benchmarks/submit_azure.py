"""Time of a submit to Azure ML against the bare calls it needs: `python benchmarks/submit_azure.py [N]`.

The bare calls use Azure's own clients: look for the record, create it once, put the job, store its id. Both run in turns against fakes
that answer at once. For comparison it also measures the official MLClient's put of the job alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.submit_aws import milliseconds, timed
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.target import JobTarget, parse_target

ROOT = Path(__file__).resolve().parents[1]
SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"


def make_target() -> JobTarget:
    """Return the target of an Azure ML cluster, as `pulumi up` writes it."""
    bucket, image = "abfs://runs@account.dfs.core.windows.net", f"yard.azurecr.io/train@sha256:{'a' * 64}"
    common = {"version": 1, "kind": "azureml", "stack": "gpuyard/prod-azure", "pool": "h100", "accelerator": "H100"}
    sizes = {"machine": "Standard_ND96isr_H100_v5", "gpus_per_node": 8, "nics_per_node": 8, "min_nodes": 0, "max_nodes": 2, "spot": False}
    place = {"region": "eastus2", "run_bucket": bucket, "buckets": {"runs": bucket}, "resource_group": "yard", "workspace": "train"}
    service = {
        "subscription_id": SUBSCRIPTION,
        "compute": "h100",
        "identity_client_id": "aaaaaaaa-0000-0000-0000-000000000002",
        "job_prefix": "gpuyard-d6d45572-",
    }
    price = {"usd_per_node_hour": 36.0, "source": "list price"}
    return parse_target({**common, **sizes, **place, **service, "price": price, "default_image": image})


@contextmanager
def services() -> Iterator[Callable[[], list[str]]]:
    """Start the fake of Azure in another process, and set this process's environment to use it. Yield a function that lists its calls."""
    argv = [sys.executable, "-m", "benchmarks.fakes.azure"]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        found = json.loads(process.stdout.readline() if process.stdout else "")
        os.environ.update(found)

        def calls() -> list[str]:
            properties: list[str] = json.load(urlopen(found["CALLS"]))  # noqa: S310 our own server
            return properties

        yield calls
        process.terminate()


def bare_submits(request: Any, record: bytes) -> Callable[[int], None]:
    """Return a function that makes the same calls with Azure's own clients alone, with bodies of the same size."""
    from azure.core import MatchConditions, PipelineClient
    from azure.core.exceptions import ResourceNotFoundError
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
    from azure.core.rest import HttpRequest
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import ContainerClient

    identity = DefaultAzureCredential()
    container = ContainerClient("https://account.blob.core.windows.net", "runs", credential=identity)
    policies = [RetryPolicy(), BearerTokenCredentialPolicy(identity, "https://management.azure.com/.default")]
    arm: Any = PipelineClient("", policies=policies)
    folder = request.operation.removeprefix("PUT ").rpartition("/")[0]

    def submit(number: int) -> None:
        key = f"gpuyard/submissions/bare-{number}/run.json"
        blob, etag = container.get_blob_client(key), ""
        try:
            blob.download_blob().readall()
        except ResourceNotFoundError:
            etag = blob.upload_blob(record, overwrite=True, match_condition=MatchConditions.IfMissing)["etag"]
        arm.send_request(HttpRequest("PUT", f"https://management.azure.com{folder}/bare-{number}?api-version=1", json=request.body))
        blob.upload_blob(record + b" ", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)

    return submit


def official_puts(request: Any) -> Callable[[int], None]:
    """Return a function that puts the job with MLClient, with everything given that it would look up."""
    from azure.ai.ml import MLClient, command
    from azure.identity import DefaultAzureCredential

    client, properties = (
        MLClient(DefaultAzureCredential(), SUBSCRIPTION, "yard", "train", enable_telemetry=False),
        request.body["properties"],
    )

    def put(number: int) -> None:
        client.jobs.create_or_update(
            command(
                name=f"bare-{number}", command=properties["command"], environment=properties["environmentId"],
                compute=properties["computeId"],
                instance_count=2, distribution={"type": "pytorch", "process_count_per_instance": 1},
                environment_variables=properties["environmentVariables"],
            )
        )  # fmt: skip

    return put


def main(count: int) -> None:
    """Submit `count` different jobs one after another from one process, and as many with the clients alone."""
    with services() as calls:
        runner = Runner({"h100": make_target()})

        def job(number: int) -> Any:
            return parse_job({"name": "azureml", "nodes": 2, "command": ["train.py"], "env": {"NUMBER": str(number)}})

        runner.submit(job(-1), None)  # creates the clients, the environment and the code tarball
        requests = runner.plan(job(-2), None).requests
        bare = bare_submits(requests[-1], b"x" * 1800)
        bare(-1)
        specs = [job(number) for number in range(count)]
        before = len(calls())
        ours, theirs = [], []
        for number, spec in enumerate(specs):
            ours.append(timed(lambda spec=spec: runner.submit(spec, None)))  # type: ignore[misc]
            theirs.append(timed(lambda number=number: bare(number)))  # type: ignore[misc]
        kinds = Counter(call.split()[0] for call in calls()[before:] if "/bare-" not in call)
        rate = f"{3600 / statistics.mean(ours):,.0f} an hour"
        print(f"submit to azureml, {count} jobs")
        print(f"  gpuyard                     {milliseconds(ours)}   {rate}   (goal: p95 <= 100 ms, 20,000 an hour)")
        print(f"  bare clients, same calls    {milliseconds(theirs)}")
        print(f"  ratio gpuyard / bare: {statistics.median(ours) / statistics.median(theirs):.2f}   (goal: <= 1.3)")
        print(f"  calls per submission: {sum(kinds.values()) / count:.2f}   (goal: <= 4; {dict(kinds)})")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            official = official_puts(requests[-1])
            official(-1)
            puts = [timed(lambda number=number: official(number)) for number in range(min(count, 50))]  # type: ignore[misc]
        print(f"  MLClient, put of a job      {milliseconds(puts)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
