"""Azure's official client makes the same request for the same job, and can work with the jobs that we create."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends.azureml import AzureMLBackend
from gpuyard.training_jobs.backends.azureml.request import request_body
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.state import State
from gpuyard.training_jobs.target import AzureMlTarget
from tests.fakes.azure.azureml import SUBSCRIPTION
from tests.helpers.azureml_pool import IMAGE, Yard, yard
from tests.helpers.local_pool import job
from tests.helpers.waiting import WAIT_LIMIT_S

# The official client adds to a job the state of the current git checkout, and empty members.
_ADDED = ("properties", "isArchived", "inputs", "outputs")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with yard(tmp_path, monkeypatch, program="print('runs')") as found:
        found.ml.machines = 0
        yield found


@pytest.fixture
def client(service: Yard) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dozens of deprecation warnings of its own libraries
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential

        return MLClient(DefaultAzureCredential(), SUBSCRIPTION, "yard", "train", enable_telemetry=False)


def make(client: Any, made: dict[str, Any], name: str) -> Any:
    """Return the job in the official client's classes."""
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment, ManagedIdentityConfiguration

    return client.jobs.create_or_update(
        command(
            name=name,
            display_name=made["displayName"],
            experiment_name=made["experimentName"],
            command=made["command"],
            environment=Environment(image=IMAGE),
            compute="h100",
            instance_count=made["resources"]["instanceCount"],
            shm_size=made["resources"]["shmSize"],
            distribution={"type": "pytorch", "process_count_per_instance": 1},
            timeout=93784,
            environment_variables=made["environmentVariables"],
            tags=made["tags"],
            identity=ManagedIdentityConfiguration(client_id=made["identity"]["clientId"]),
        )
    )


@pytest.mark.filterwarnings("ignore")
def test_the_official_client_makes_the_same_request_and_reads_our_jobs(service: Yard, client: Any) -> None:
    target = service.target()
    assert isinstance(target, AzureMlTarget)
    code = Code("d" * 64, f"{target.run_bucket}/gpuyard/code/{'c' * 64}.tar.gz")
    run = Run("theirs-3f9a1c0b77d2", 0, 1, job("theirs", nodes=2, labels={"team": "nlp"}), target, code, 93784, "timeout")
    ours = request_body(run, target)["properties"]
    make(client, ours, "theirs")
    (call,) = [call for call in service.ml.calls if call.operation == "put_job"]
    theirs = json.loads(call.raw)["properties"]
    assert {**theirs["resources"], "properties": {}} == {**ours["resources"], "properties": {}}
    different = {"resources", "environmentId", *_ADDED}  # gpuyard uses a digest as the environment's version
    assert {key: value for key, value in theirs.items() if key not in different} == {
        key: value for key, value in ours.items() if key not in different
    }
    environments = list(service.ml.environments.values())
    backend = AzureMLBackend(target)
    name = backend.submit(run)
    assert list(service.ml.environments.values())[-1]["image"] == environments[0]["image"]
    assert str(client.jobs.get(name).status).rpartition(".")[2].lower() in {"not_started", "queued"}
    client.jobs.begin_cancel(name)
    service.ml._lives[-1].join(WAIT_LIMIT_S)
    assert backend.status(name).state is State.CANCELLED
    assert backend.find(run) == name
    assert service.storage.proxy.refused == []
