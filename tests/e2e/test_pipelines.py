"""The recipes of examples/pipelines as their schedulers run them, against the fakes: three runs submit one job."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from gpuyard.training_jobs.spec import load_job
from gpuyard.training_jobs.state import Exit
from tests.fakes.aws.batch import FakeBatch
from tests.fakes.aws.cloudwatch_logs import FakeLogs
from tests.fakes.aws.moto_server import moto
from tests.helpers.batch_pool import GROUP, target_document
from tests.helpers.pipeline_schedulers import (
    SchedulerMachine,
    check_permissions,
    install_programs,
    parse_crontab,
    run_command,
    run_workflow,
    token_service,
)  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the shells and variables are those of Linux machines")

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "examples" / "pipelines"
SMALL: dict[str, Any] = {"accelerator": None, "gpus_per_node": 0, "nics_per_node": 0, "vcpus": 1, "memory_mib": 1000}
JOB = "name: nightly\nlauncher: none\npreflight: skip\ncommand: [python3, -c, 'print(1)']\n"
BUCKET = "acme-prod-runs"
TARGETS = f"s3://{BUCKET}/gpuyard/targets.json"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SchedulerMachine]:
    with moto(monkeypatch, BUCKET) as s3, FakeLogs() as logs:
        logs.group(GROUP)
        image = {"AWS_ENDPOINT_URL_S3": s3.url, "GPUYARD_NOTICE": "off", "AWS_EC2_METADATA_DISABLED": "true"}
        with FakeBatch(tmp_path / "nodes", logs, image_env=image) as batch:
            batch.add_queue("yard-p5", nodes=0)  # submitted jobs wait
            monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", batch.url)
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", logs.url)
            targets = json.dumps({"p5": target_document(f"s3://{BUCKET}", **SMALL)})
            boto3.client("s3").put_object(Bucket=BUCKET, Key="gpuyard/targets.json", Body=targets.encode())
            folder, programs = tmp_path / "nightly", tmp_path / "bin"
            shutil.copytree(RECIPES, folder)
            (folder / "nightly.yaml").write_text(JOB)
            programs.mkdir()
            found = SchedulerMachine(batch, folder, programs)
            found.program("gpuyard", f'PYTHONPATH={ROOT} exec {sys.executable} -c "from gpuyard.stacks.cli import main; main()" "$@"')
            found.program("sleep", "exit 0")
            yield found


def test_the_job_of_the_recipes_is_valid() -> None:
    spec, base = load_job(RECIPES / "nightly.yaml")
    assert spec.code is not None
    assert (base / spec.code / spec.command[0]).is_file()


@pytest.mark.thorough
def test_three_runs_of_cron_submit_one_job(site: SchedulerMachine) -> None:
    text = (site.folder / "crontab").read_text().replace("/opt/gpuyard/bin", str(site.bin)).replace("/srv/nightly", str(site.folder))
    variables, [(schedule, command)] = parse_crontab(text)
    assert re.fullmatch(r"[0-5]?\d \* \* \* \*", schedule)
    assert variables["GPUYARD_TARGETS"] == TARGETS
    documents = []
    for _ in range(3):
        done = run_command([variables["SHELL"], "-c", command], site.folder.parent, {**site.with_role(), **variables})
        assert done.returncode == 0, done.stderr
        documents.append(json.loads((site.folder / "submitted.json").read_text()))
    assert [document["created"] for document in documents] == [True, False, False]
    assert len({document["run_id"] for document in documents}) == len(site.batch.jobs) == 1


def test_cron_is_silent_about_a_running_job_and_fails_once_it_was_cancelled(site: SchedulerMachine) -> None:
    text = (site.folder / "crontab").read_text().replace("/opt/gpuyard/bin", str(site.bin)).replace("/srv/nightly", str(site.folder))
    variables, [(_, command)] = parse_crontab(text)
    environment = {**site.with_role(), **variables}
    fire = [variables["SHELL"], "-c", command]
    first = run_command(fire, site.folder.parent, environment)
    second = run_command(fire, site.folder.parent, environment)
    assert (first.returncode, second.returncode, second.stdout, second.stderr) == (0, 0, "", "")
    assert "created" in first.stderr
    run = json.loads((site.folder / "submitted.json").read_text())["run_id"]
    cancelled = run_command([str(site.bin / "gpuyard"), "cancel", run], site.folder, environment)
    assert cancelled.returncode == 0, cancelled.stderr
    third = run_command(fire, site.folder.parent, environment)
    assert third.returncode == 1
    assert "adopted: it is CANCELLED" in third.stderr
    assert json.loads((site.folder / "submitted.json").read_text())["created"] is False


@pytest.fixture
def tokens() -> Iterator[str]:
    with token_service() as url:
        yield url


@pytest.fixture
def runner_image(site: SchedulerMachine) -> SchedulerMachine:
    """Return a machine that also has gh, which fetches the repository, and git, python3 and pip, which install gpuyard."""
    site.program("gh", f'[ "$GH_TOKEN $1 $2 $3" = "of-github repo clone acme/training" ] && cp -r {site.folder}/. .')
    install_programs(site.bin, site.folder.parent / "installed")
    return site


def test_three_runs_of_github_actions_submit_one_job_as_the_role(runner_image: SchedulerMachine, tokens: str) -> None:
    documents = []
    for _ in range(3):
        code, workspace, output = run_workflow(RECIPES / "github-nightly.yml", runner_image.folder.parent, runner_image.bare(), tokens)
        assert code == 0, output
        documents.append(json.loads((workspace / "run.json").read_text()))
        assert "header.claims.signature" not in output
    assert [document["created"] for document in documents] == [True, False, False]
    assert len({document["run_id"] for document in documents}) == len(runner_image.batch.jobs) == 1
    signed = {re.findall(r"Credential=(\w+)/", call.headers["Authorization"])[0] for call in runner_image.batch.calls}
    assert all(key.startswith("ASIA") for key in signed)  # no stored key: temporary ones of the role
    assert len(signed) >= 3
    installed = set((runner_image.folder.parent / "installed").read_text().splitlines())
    assert f"git -C gpuyard checkout --quiet {'0' * 40}" in installed
    assert any("download" in line and line.endswith("--requirement gpuyard/examples/pipelines/requirements-aws.lock") for line in installed)


@pytest.mark.parametrize(("codes", "final"), [((8, 8, 0), 0), ((8, 8, 8), 8), ((2,), 2), ((5,), 5), ((0,), 0)])
def test_github_actions_retries_only_retryable_exit_codes(
    runner_image: SchedulerMachine, tokens: str, codes: tuple[int, ...], final: int
) -> None:
    runner_image.answers(*codes)
    code, _, output = run_workflow(RECIPES / "github-nightly.yml", runner_image.folder.parent, runner_image.bare(), tokens)
    assert code == final, output
    assert len(runner_image.called()) == len(codes)
    assert len(set(runner_image.called())) == 1  # one key


def test_the_workflow_has_only_the_permissions_it_needs() -> None:
    assert check_permissions(RECIPES / "github-nightly.yml")["env"]["GPUYARD_TARGETS"] == TARGETS
    assert not re.search(r"(?i)pulumi|access_key", re.sub(r"#.*", "", (RECIPES / "github-nightly.yml").read_text()))


@pytest.fixture
def airflow(site: SchedulerMachine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Load the DAG file with stand-ins for the names that it imports from Airflow."""

    def load() -> Any:
        sdk, errors = types.ModuleType("airflow.sdk"), types.ModuleType("airflow.exceptions")
        declared: dict[str, Any] = {"tasks": []}

        def dag(**settings: Any) -> Callable[[Callable[[], None]], Callable[[], None]]:
            declared.update(settings)
            return lambda function: function

        def task(function: Callable[..., Any]) -> Callable[..., None]:
            return lambda **arguments: declared["tasks"].append((function, arguments))

        error = type("AirflowException", (Exception,), {})
        vars(sdk).update(dag=dag, task=task)
        vars(errors).update(AirflowException=error, AirflowFailException=type("AirflowFailException", (error,), {}))
        for name, module in {"airflow": types.ModuleType("airflow"), "airflow.sdk": sdk, "airflow.exceptions": errors}.items():
            monkeypatch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location("airflow_nightly", site.folder / "airflow_nightly.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.declared = declared  # type: ignore[attr-defined]
        return module

    for name, value in {**site.with_role(), "GPUYARD_TARGETS": TARGETS}.items():
        monkeypatch.setenv(name, value)
    return load


def test_three_runs_of_airflow_run_one_job_to_its_end(site: SchedulerMachine, airflow: Callable[[], Any]) -> None:
    site.batch.queues["yard-p5"].nodes = 1
    dag = airflow()
    [(function, arguments)] = dag.declared["tasks"]
    assert (arguments, dag.declared["catchup"]) == ({"key": "{{ ds }}"}, False)
    results = [function(key="2026-11-23") for _ in range(3)]
    assert results[0] == results[1] == results[2]
    assert results[0]["checkpoint"] == f"s3://{BUCKET}/gpuyard/runs/{results[0]['run']}/checkpoints"
    [job] = site.batch.jobs.values()
    assert (job.status, len(job.attempts)) == ("SUCCEEDED", 1)


@pytest.mark.parametrize("code", [code for code in Exit if code is not Exit.OK])
def test_airflow_retries_only_retryable_exit_codes(site: SchedulerMachine, airflow: Callable[[], Any], code: Exit) -> None:
    dag = airflow()
    site.answers(int(code))
    with pytest.raises(dag.AirflowException) as raised:
        dag.train("2026-11-23")
    fails = issubclass(raised.type, dag.AirflowFailException)
    assert fails == (code not in (Exit.LOST_SIGHT, Exit.STOPPED))


@pytest.mark.parametrize(
    ("codes", "final"), [((0,), 0), ((75, 75, 0), 0), ((8, 0), 0), ((1,), 1), ((75, 124), 124), ((2,), 2), ((8,) * 20, 8)]
)
def test_the_wait_script_handles_each_exit_code(site: SchedulerMachine, codes: tuple[int, ...], final: int) -> None:
    site.answers(*codes)
    done = run_command([str(site.folder / "wait.sh"), "2026-11-23"], site.folder, site.with_role())
    assert done.returncode == final
    assert site.called() == ["submit nightly.yaml --request-key 2026-11-23 --wait --json"] * len(codes)


def test_the_page_explains_each_exit_code() -> None:
    page = (ROOT / "docs/pipelines.md").read_text()
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE) for code in row.split(",")}
    assert documented == {int(code) for code in Exit}
    for name in re.findall(r"\]\(\.\./(examples/[^)]+)\)", page):
        assert (ROOT / name).exists(), name
