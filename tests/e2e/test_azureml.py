"""Two nodes of Azure ML with the real launch and trainer, checkpoints on Blob Storage, nodes taken midway; and no secret anywhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azure.entra import NODES, claims_of
from tests.support.azure.ml_yard import Yard, yard
from tests.support.azure.scan import SECRET, scan
from tests.support.azure.vault import FakeVault
from training_jobs.runner import Runner
from training_jobs.spec import JobSpec, parse_job
from training_jobs.state import Exit, Reason, State, exit_for
from training_jobs.store import read_url

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="a node address of its own and PR_SET_PDEATHSIG are Linux's"),
    pytest.mark.timeout(900),  # of a busy machine
]
STEPS, SAVED = 120, 40
SETTINGS = [
    f"steps={STEPS}", "batch=8", "context=32", "width=32", "layers=1", "corpus_bytes=400000", "val_bytes=8192",
    f"save_every_steps={SAVED}",
]  # fmt: skip
VAULT = "https://acme.vault.azure.net/secrets/wandb"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    with FakeVault({"acme/wandb": SECRET}) as vault:
        with yard(tmp_path, monkeypatch, grace_s=120, leads={".vault.azure.net": vault.server_port}) as found:
            yield found
        assert vault.calls


def trainer(**keys: Any) -> JobSpec:
    command = ["-m", "training_jobs.train", *SETTINGS]
    return parse_job({"name": "gpt", "nodes": 2, "nproc_per_node": 1, "command": command, "preflight": "skip", **keys})


def wait_for(what: Callable[[], Any], say: Callable[[], str]) -> Any:
    deadline = time.monotonic() + 300
    while not (found := what()):
        assert time.monotonic() < deadline, say()
        time.sleep(0.05)
    return found


def no_secret_anywhere(service: Yard, *more: str) -> None:
    """Nor in what its nodes were told."""
    told = [json.dumps(job.properties) for job in service.ml.jobs.values()]
    scan(service.storage, [*service.ml.calls, *service.storage.front.calls], service.ml.text(), *told, *more)


def test_low_priority_nodes_train_are_taken_resume_and_their_result_is_read_back(service: Yard, tmp_path: Path) -> None:
    runner = service.runner(spot=True, secrets={"wandb": VAULT})
    run = runner.submit(trainer(secrets={"WANDB_API_KEY": "wandb"}), None, key="nightly").status.run_id
    (name,) = service.ml.jobs
    first_save = f"{service.storage.url}/gpuyard/runs/{run}/checkpoints/{SAVED}/commit-1.json"
    wait_for(lambda: read_url(first_save), service.ml.text)
    service.ml.preempt(name)
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.SUCCEEDED, 0, Exit.OK), service.ml.text()
    written = runner.fetch(run, tmp_path / "into")
    result = json.loads((tmp_path / "into/output/result.json").read_text())
    assert (result["attempt"], result["lost_steps"]) == (2, 0)
    assert f"checkpoints/{STEPS}/commit-2.json" in written
    lines = list(runner.logs(run))
    assert {line.node for line in lines} == {0, 1}
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    assert any("resumed from step" in line.text for line in lines)
    assert (status.attempt, status.metrics.step, service.ml.count("put_job")) == (2, STEPS, 1)
    first, second = status.attempts
    assert (first.attempt, first.state, first.reason, first.exit_code) == (1, State.STOPPED, Reason.PREEMPTED, 75)
    assert (second.attempt, second.state) == (2, State.SUCCEEDED)
    again = runner.submit(trainer(secrets={"WANDB_API_KEY": "wandb"}), None, key="nightly")
    assert (again.created, again.note) == (False, "adopted: it is SUCCEEDED")
    writers = {str(claims_of(call.headers)["appid"]) for call in service.storage.front.calls if "/checkpoints/" in call.path}
    assert NODES in writers  # the cluster's identity, by its own endpoint
    assert service.storage.door.refused == []
    no_secret_anywhere(service, status.model_dump_json(), *(line.text for line in lines))


# A script of a user's own: proves that it has the secret without saying it, that ranks are processes, and ends as it was told when all
# have spoken.
SCRIPT = """
import os, sys, time
assert len(os.environ["TOKEN"]) == 28
assert os.environ["WORLD_SIZE"] == "4", os.environ["WORLD_SIZE"]
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "has it", flush=True)
open(os.path.join(os.environ["SPOKEN"], os.environ["RANK"]), "w").close()
while os.environ["RANK"] != "3" or len(os.listdir(os.environ["SPOKEN"])) < 4:
    time.sleep(0.02)
sys.exit(int(sys.argv[1]))
"""


def own_script(service: Yard, folder: Path, code: int, **changes: Any) -> tuple[Runner, str]:
    (folder / "code").mkdir()
    (folder / "code/script.py").write_text(SCRIPT)
    (folder / "spoken").mkdir()
    runner = service.runner(**changes)
    keys = {"name": "own", "command": ["script.py", str(code)], "secrets": {"TOKEN": "token"}, "nodes": 2, "nproc_per_node": 2}
    spec = parse_job({**keys, "preflight": "skip", "env": {"SPOKEN": str(folder / "spoken")}})
    return runner, runner.submit(spec, folder / "code").status.run_id


def test_a_script_that_fails_on_one_node_is_told_with_its_own_code_and_no_secret(service: Yard, tmp_path: Path) -> None:
    runner, run = own_script(service, tmp_path, 7, secrets={"token": VAULT})
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 7, Exit.FAILED), service.ml.text()
    assert {line.node for line in runner.logs(run)} == {0, 1}
    assert all(f"rank {rank} of 4 has it" in service.ml.text() for rank in range(4))
    no_secret_anywhere(service, status.model_dump_json())


@pytest.mark.soak  # its parts are in every run: the refusal in the tests of launch, the code 64 in those of all backends
def test_a_secret_that_cannot_be_read_is_a_bad_configuration_and_is_not_shown(service: Yard, tmp_path: Path) -> None:
    runner, run = own_script(service, tmp_path, 0, secrets={"token": VAULT.replace("wandb", "gone")})
    status = runner.wait(run)
    assert (status.state, status.exit_code, exit_for(status.state, status.reason)) == (State.FAILED, 64, Exit.FAILED), service.ml.text()
    assert "HTTP 404" in " ".join(status.attempts[-1].tail)
    no_secret_anywhere(service, status.model_dump_json())
