"""Time of a submit to Vertex AI against the bare calls it needs: `python benchmarks/submit_gcp.py [N]`.

The bare calls use Google's own clients over REST: look for the record, create it once, submit the job and store its id. Both run in
turns against fakes that answer at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.submit_aws import milliseconds, timed
from gpuyard.training_jobs.backends.vertex import VertexBackend
from gpuyard.training_jobs.clouds import gcp
from gpuyard.training_jobs.runner import Runner
from gpuyard.training_jobs.spec import parse_job
from gpuyard.training_jobs.target import JobTarget, parse_target

ROOT = Path(__file__).resolve().parents[1]
_PARENT = "projects/acme-ml/locations/us-central1"


@contextmanager
def services() -> Iterator[str]:
    """Start the fakes of Cloud Storage and Vertex in another process, and set this process's environment to use them."""
    argv = [sys.executable, "-m", "benchmarks.fakes.gcp"]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip() if process.stdout else ""
        os.environ.update(STORAGE_EMULATOR_HOST=url, CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM=url)
        os.environ.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
        yield url
        process.terminate()


def make_target() -> JobTarget:
    """Return the target of a Vertex AI pool, as `pulumi up` writes it."""
    image = f"us-central1-docker.pkg.dev/acme-ml/train/job@sha256:{'0' * 64}"
    common = {"version": 1, "kind": "vertex", "stack": "gpuyard/dev-gcp", "pool": "l4", "machine": "g2-standard-48", "accelerator": "L4"}
    sizes = {"gpus_per_node": 4, "nics_per_node": 0, "min_nodes": 0, "max_nodes": 4, "boot_disk_gib": 200, "boot_disk_type": "pd-ssd"}
    place = {"region": "us-central1", "project": "acme-ml", "run_bucket": "gs://runs", "buckets": {"runs": "gs://runs"}, "spot": False}
    service = {
        "accelerator_type": "NVIDIA_L4",
        "strategy": "standard",
        "service_account": "job@acme-ml.iam.gserviceaccount.com",
        "job_prefix": "gpuyard-00000000-",
    }
    price = {"usd_per_node_hour": 4.0, "source": "list price"}
    return parse_target({**common, **sizes, **place, **service, "price": price, "default_image": image})


def client_of(url: str) -> Any:
    """Return Vertex's ordinary client, without credentials."""
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1 import JobServiceClient

    nobody: Any = AnonymousCredentials
    return JobServiceClient(credentials=nobody(), transport="rest", client_options=ClientOptions(api_endpoint=url))


def bare_submits(url: str, body: dict[str, Any], record: bytes) -> Callable[[int], None]:
    """Return a function that makes the same calls with the clients alone, with bodies of the same size."""
    from google.api_core.exceptions import NotFound
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1.types import CustomJob
    from google.cloud.storage import Client

    nobody: Any = AnonymousCredentials
    client = Client(project=None, credentials=nobody())
    client._bucket_metadata_cache = None  # without it, the client looks for the bucket after every object that it does not find
    bucket, jobs = client.bucket("runs"), client_of(url)

    def submit(number: int) -> None:
        blob = bucket.blob(f"gpuyard/submissions/bare-{number}/run.json")
        try:
            blob.download_as_bytes()
        except NotFound:
            blob.upload_from_string(record, if_generation_match=0)
        job = CustomJob.from_json(json.dumps({**body, "displayName": f"bare-{number}-0"}))
        jobs.create_custom_job(parent=_PARENT, custom_job=job)
        blob.upload_from_string(record + b" ", if_generation_match=blob.generation)

    return submit


def backend_for(url: str) -> Callable[[Any], VertexBackend]:
    """Return a factory of backends that have no credentials and share their clients."""
    from google.auth.credentials import AnonymousCredentials

    nobody: Any = AnonymousCredentials
    clients = gcp.GcpClients("acme-ml", "us-central1", signed_in=nobody(), endpoints={"aiplatform": url})
    return lambda target: VertexBackend(target, gcp=clients)


def main(count: int) -> None:
    """Submit `count` different jobs one after another from one process, and as many with the clients alone."""
    with services() as url:
        runner = Runner({"l4": make_target()}, backend_for=backend_for(url))

        def job(number: int) -> Any:
            return parse_job({"name": "job", "nodes": 2, "command": ["train.py"], "env": {"NUMBER": str(number)}})

        first = runner.submit(job(-1), None).status  # creates the clients and the code tarball
        requests = runner.plan(job(-2), None).requests
        stored = f"{url}/storage/v1/b/runs/o/gpuyard/submissions/{first.run_id}/run.json?alt=media"
        with urlopen(stored) as answer:  # noqa: S310 our own server
            record = answer.read()
        bare = bare_submits(url, requests[0].body["customJob"], record)
        bare(-1)
        specs = [job(number) for number in range(count)]
        before = len(json.load(urlopen(f"{url}/calls")))  # noqa: S310
        our_seconds, bare_seconds = [], []
        for number, spec in enumerate(specs):
            our_seconds.append(timed(lambda spec=spec: runner.submit(spec, None)))  # type: ignore[misc]
            bare_seconds.append(timed(lambda number=number: bare(number)))  # type: ignore[misc]
        calls = json.load(urlopen(f"{url}/calls"))[before:]  # noqa: S310
        kinds = Counter(call.split()[0] for call in calls if "bare-" not in call)
        rate = f"{3600 / mean(our_seconds):,.0f} an hour"
        print(f"submit, {count} jobs            {milliseconds(our_seconds)}   {rate}   (goal: p95 <= 100 ms, 20,000 an hour)")
        print(f"Google's clients, same calls  {milliseconds(bare_seconds)}")
        print(f"ratio submit / bare: {median(our_seconds) / median(bare_seconds):.2f}   (goal: <= 1.3)")
        print(f"calls per submission: {sum(kinds.values()) / count:.2f}   (goal: <= 4; {dict(kinds)})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
