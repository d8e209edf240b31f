"""Jobs on 2 Azure ML nodes with the real launch and trainer, checkpoints on Blob Storage, a preemption, and no secret anywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuyard.training_jobs.state import Exit, State, exit_for
from gpuyard.training_jobs.store import read_url
from tests.fakes.azure.entra import NODES, claims_of
from tests.fakes.azure.key_vault import FakeVault
from tests.helpers.azureml_pool import Yard, yard
from tests.helpers.secret_scan.azure import SECRET, check_no_secret
from tests.helpers.trainer_jobs import check_node_lines, check_resumed, submit_own_script, trainer_job
from tests.helpers.waiting import wait_for

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own and PR_SET_PDEATHSIG are Linux's"),
    pytest.mark.timeout(900),  # on a busy machine
]
STEPS, SAVED = 120, 40
VAULT = "https://acme.vault.azure.net/secrets/wandb"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with FakeVault({"acme/wandb": SECRET}) as vault:
        with yard(tmp_path, monkeypatch, grace_s=120, routes={".vault.azure.net": vault.server_port}) as found:
            yield found
        assert vault.calls


def no_secret_anywhere(service: Yard, *texts: str) -> None:
    """Fail if a secret is found, also in the environment of the nodes."""
    documents = [json.dumps(job.properties) for job in service.ml.jobs.values()]
    check_no_secret(service.storage, [*service.ml.calls, *service.storage.front.calls], service.ml.text(), *documents, *texts)


def test_low_priority_nodes_are_preempted_resume_and_the_result_is_fetched(service: Yard, tmp_path: Path) -> None:
    runner = service.runner(spot=True, secrets={"wandb": VAULT})
    job = trainer_job(STEPS, SAVED)
    run = runner.submit(job, None, key="nightly").status.run_id
    (name,) = service.ml.jobs
    first_save = f"{service.storage.url}/gpuyard/runs/{run}/checkpoints/{SAVED}/commit-1.json"
    wait_for(lambda: read_url(first_save), service.ml.text)
    service.ml.preempt(name)
    status = check_resumed(runner, run, job, STEPS, tmp_path / "into", service.ml.text)
    assert service.ml.count("put_job") == 1
    check_node_lines(runner, run, attempt=2)
    lines = list(runner.logs(run))
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    assert any("resumed from step" in line.text for line in lines)
    writers = {str(claims_of(call.headers)["appid"]) for call in service.storage.front.calls if "/checkpoints/" in call.path}
    assert NODES in writers  # the cluster's identity
    assert service.storage.proxy.refused == []
    no_secret_anywhere(service, status.model_dump_json(), *(line.text for line in lines))


def test_a_script_that_fails_on_one_node_ends_with_its_code_and_shows_no_secret(service: Yard, tmp_path: Path) -> None:
    runner = service.runner(secrets={"token": VAULT})
    run = submit_own_script(runner, tmp_path, 7)
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 7, Exit.FAILED), service.ml.text()
    assert {line.node for line in runner.logs(run)} == {0, 1}
    assert all(f"rank {rank} of 4 has it" in service.ml.text() for rank in range(4))
    no_secret_anywhere(service, status.model_dump_json())


@pytest.mark.soak  # tests of launch cover the refusal, and contract tests of the backends the exit code 64
def test_an_unreadable_secret_is_a_bad_configuration_and_is_not_shown(service: Yard, tmp_path: Path) -> None:
    runner = service.runner(secrets={"token": VAULT.replace("wandb", "gone")})
    run = submit_own_script(runner, tmp_path, 0)
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 64, Exit.FAILED), service.ml.text()
    assert "HTTP 404" in " ".join(status.attempts[-1].tail)
    no_secret_anywhere(service, status.model_dump_json())
