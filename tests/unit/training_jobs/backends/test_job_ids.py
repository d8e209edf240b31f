"""Ids of jobs from a record: only those of the service's own form are used, and none changes a URL's path."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.backends.aws_batch import BatchBackend
from gpuyard.training_jobs.backends.azureml import AzureMLBackend
from gpuyard.training_jobs.backends.azureml.request import arm_url
from gpuyard.training_jobs.backends.local import LocalBackend
from gpuyard.training_jobs.backends.sagemaker import SageMakerBackend
from gpuyard.training_jobs.backends.slurm import SlurmBackend
from gpuyard.training_jobs.backends.vertex import VertexBackend
from gpuyard.training_jobs.clouds.gcp import GcpClients
from gpuyard.training_jobs.target import AzureMlTarget, VertexTarget
from tests.helpers.azureml_pool import make_target as azureml_target
from tests.helpers.vertex_pool import make_target as vertex_target

_vertex, _azureml = vertex_target(), azureml_target("file:///bucket")
assert isinstance(_vertex, VertexTarget)
assert isinstance(_azureml, AzureMlTarget)
AZUREML = AzureMLBackend(_azureml)
VERTEX = VertexBackend(_vertex, gcp=GcpClients(_vertex.project, _vertex.region))
FORMS: dict[str, re.Pattern[str]] = {
    "local": LocalBackend.job_id,
    "batch": BatchBackend.job_id,
    "sagemaker": SageMakerBackend.job_id,
    "vertex": VERTEX.job_id,
    "azureml": AZUREML.job_id,
    "slurm": SlurmBackend.job_id,
}
OWN = {
    "local": "job-0123456789ab.0-0a1b2c3d",
    "batch": "0a1b2c3d-0a1b-0a1b-0a1b-0123456789ab",
    "sagemaker": "gpuyard-d6d45572-job-0123456789ab-0-0a1b2c3d",
    "vertex": f"projects/123456789/locations/{_vertex.region}/customJobs/4500000000000000000",
    "azureml": "gpuyard-d6d45572-job-0123456789ab-0-0a1b2c3d",
    "slurm": "job-0123456789ab.0-0a1b2c3d",
}
HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/../../virtualMachines/vm/powerOff",
    "a?b",
    "a#b",
    "a%2fb",
    "a\n",
    "a b",
    "ä",
    "\x00",
    "a/b",
    "A" * 3000,
]


@pytest.mark.parametrize("service", FORMS)
def test_a_services_own_ids_match_and_others_do_not(service: str) -> None:
    assert FORMS[service].fullmatch(OWN[service])
    for text in HOSTILE:
        assert not FORMS[service].fullmatch(text)
        assert not FORMS[service].fullmatch(OWN[service] + text) or text == ""
        assert not FORMS[service].fullmatch(f"{OWN[service]}/{text}")


def test_a_vertex_job_of_another_region_does_not_match() -> None:
    assert not VERTEX.job_id.fullmatch(OWN["vertex"].replace(VERTEX._target.region, "europe-west4"))
    assert not VERTEX.job_id.fullmatch(OWN["vertex"].replace("123456789/", "another-project/"))


@given(st.text(max_size=30) | st.sampled_from(HOSTILE))
def test_no_id_changes_the_path_of_a_url(text: str) -> None:
    path = urlsplit(arm_url(AZUREML._job(text))).path
    assert path.count("/") == urlsplit(arm_url(AZUREML._job("x"))).path.count("/")
    assert urlsplit(AZUREML._console(text)).query == urlsplit(AZUREML._console("x")).query


def test_every_service_has_a_form() -> None:
    folder = Path(__file__).parents[4] / "training_jobs/backends"
    named = {path.parent.name.removeprefix("aws_") for path in folder.glob("*/__init__.py")}
    assert named == set(FORMS)
