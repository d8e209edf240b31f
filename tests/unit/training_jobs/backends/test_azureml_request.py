"""Azure ML: the exact requests (golden files; GOLDEN=write updates them), limits, and tables of states."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuyard.training_jobs.backends.azureml import AzureMLBackend
from gpuyard.training_jobs.backends.azureml.request import iso_duration, job_name, parse_duration, request_body, shell_command
from gpuyard.training_jobs.backends.azureml.states import _STATES, status_of
from gpuyard.training_jobs.backends.base import Request
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.target import AzureMlTarget
from tests.fakes.azure.azureml import WORKSPACE
from tests.fakes.azure.azureml_job_rules import problem_of
from tests.helpers.azureml_pool import make_target
from tests.helpers.local_pool import job

GOLDEN = Path(__file__).parent / "golden"
BOOTSTRAP = Path(__file__).resolve().parents[4] / "training_jobs/launch/bootstrap.py"


def a_run(target: Any, *, run_id: str = "llm-nightly-3f9a1c0b77d2", submission: int = 0, limit_s: int = 43200, **keys: Any) -> Run:
    spec = job("llm-nightly", **{"nodes": 2, **keys})
    code = Code("d" * 64, f"{target.run_bucket}/gpuyard/code/{'c' * 64}.tar.gz")
    return Run(run_id, submission, submission + 1, spec, target, code, limit_s, "timeout")


def body(target: Any, **keys: Any) -> dict[str, Any]:
    assert isinstance(target, AzureMlTarget)
    found: dict[str, Any] = request_body(a_run(target, **keys), target)["properties"]
    return found


def requests(target: Any, **keys: Any) -> list[Request]:
    return AzureMLBackend(target, azure=object()).request(a_run(target, **keys))  # type: ignore[arg-type]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one-node": ({}, {"nodes": 1}),
    "two-nodes": ({}, {"queue_timeout": "6h", "labels": {"team": "nlp"}, "env": {"NCCL_DEBUG": "WARN"}, "limit_s": 93784}),
    "two-nodes-low-priority": ({"spot": True}, {"submission": 2}),
    "cpu-with-its-own-image": (
        {"machine": "Standard_D4s_v5", "accelerator": None, "gpus_per_node": 0},
        {"nodes": 1, "image": f"pytorch/pytorch@sha256:{'b' * 64}"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_requests_equal_the_golden_files(case: str) -> None:
    changes, keys = CASES[case]
    made = {request.operation: request.body for request in requests(make_target(**changes), **keys)}
    for request in made.values():
        if "command" in request["properties"]:  # the bootstrap is a file of its own
            assert base64.b64decode(shlex.split(request["properties"]["command"])[-1]) == BOOTSTRAP.read_bytes()
            request["properties"]["command"] = request["properties"]["command"].rsplit(" ", 1)[0]
    file = GOLDEN / f"azureml-{case}.json"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
    assert made == json.loads(file.read_text())


@pytest.mark.parametrize("case", CASES)
def test_the_requests_break_no_rule_of_the_service(case: str) -> None:
    changes, keys = CASES[case]
    environment, made = requests(make_target(**changes), **keys)
    known = {environment.operation.removeprefix("PUT ")}
    assert problem_of(made.operation.rsplit("/", 1)[1], made.body["properties"], known, f"{WORKSPACE}/computes/h100", 2) is None


def test_a_request_is_deterministic_and_an_image_is_one_environment() -> None:
    assert body(make_target()) == body(make_target())
    first, second = (requests(make_target(), submission=number)[0] for number in (0, 1))
    assert first == second
    assert first != requests(make_target(), image=f"pytorch/pytorch@sha256:{'b' * 64}")[0]


@given(
    name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True),
    digest=st.from_regex(r"[0-9a-f]{12}", fullmatch=True),
    submission=st.integers(0, 999),
    prefix=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,21}[a-z0-9])?", fullmatch=True),
)
def test_every_job_name_is_legal_and_keeps_the_digest_and_the_submission(name: str, digest: str, submission: int, prefix: str) -> None:
    target = make_target(job_prefix=f"{prefix}-")
    assert isinstance(target, AzureMlTarget)
    made = job_name(a_run(target, run_id=f"{name}-{digest}", submission=submission), target)
    assert re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}", made)
    assert made.startswith(f"{prefix}-")
    assert made.endswith(f"-{digest}-{submission}")


HOSTILE = st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text and text.strip() == text)


@settings(max_examples=40)
@given(texts=st.lists(HOSTILE, min_size=1, max_size=4), value=HOSTILE, key=st.from_regex(r"[A-Z_]{1,12}", fullmatch=True))
def test_no_text_of_a_user_reaches_the_shell(texts: list[str], value: str, key: str) -> None:
    target = make_target()
    made = body(target, command=["train.py", *texts], env={f"X{key}": value}, setup=["pip", *texts], labels={"note": value})
    bare = body(target)
    assert re.fullmatch("[0-9a-f]{64}", made["environmentVariables"].pop("GPUYARD_JOB_DIGEST"))
    bare["environmentVariables"].pop("GPUYARD_JOB_DIGEST")
    assert {**made, "tags": None} == {**bare, "tags": None}  # a label is a tag; nothing else of the job is in the request
    assert made["command"] == shell_command()


def test_the_command_has_no_character_that_a_shell_interprets() -> None:
    loader, packed = shell_command().rsplit(" ", 1)
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", packed)
    assert re.fullmatch(r'python3 -c "[a-z0-9,;.()\[\] ]+"', loader)
    for shell in (["sh", "-c"], ["bash", "-c"], ["bash", "-lc"]):
        echoed = shell_command().replace("python3", "printf '%s|'", 1)
        done = subprocess.run([*shell, echoed], capture_output=True, text=True, check=True)
        assert done.stdout.split("|") == ["-c", "import base64,sys;exec(base64.b64decode(sys.argv[1]))", packed, ""]


@given(st.integers(1, 30 * 86400))
def test_a_duration_survives_formatting_and_parsing(seconds: int) -> None:
    assert parse_duration(iso_duration(seconds)) == seconds
    assert re.fullmatch(r"P(?=.)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?", iso_duration(seconds))


def test_a_text_that_is_not_a_duration_is_zero_seconds() -> None:
    assert [parse_duration(text) for text in ("", "P", "12h", "PT1.5S", "P1Y")] == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "keys", "message"),
    [
        ({"default_image": None}, {}, "neither the job nor pool 'h100' has an image"),
        ({}, {"image": "yard.azurecr.io/train:latest"}, "gpuyard pin"),
        ({}, {"labels": {"stack": "mine"}}, "reserved for gpuyard"),
        ({}, {"labels": {"k": "v" * 257}}, "not a valid tag"),
        ({}, {"labels": {f"k{number}": "v" for number in range(41)}}, "too many, got 41, allowed: <= 40"),
    ],
)
def test_a_job_that_the_service_cannot_run_is_refused_before_the_call(changes: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        body(make_target(**changes), **keys)


def status_with(status: str, *, properties: Any = None, left: list[int | None] | None = None, starts: int = 0, **run: Any) -> Any:
    times = {"startTimeUtc": "2026-11-22T03:00:00.0000000Z", "endTimeUtc": "2026-11-22T04:00:00.0000000+00:00"}
    return status_of(status, {**times, **run}, properties or {}, lambda: left or [], starts, "https://console")


DOCUMENTED = (
    "NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Finalizing", "CancelRequested", "Completed", "Failed",
    "Canceled", "NotResponding", "Paused", "Unknown",
)  # fmt: skip


def test_every_status_is_in_the_table_or_unknown_and_only_completed_succeeds() -> None:
    for status in (*DOCUMENTED, "Melting", ""):
        found = status_with(status)
        assert (found.state is State.SUCCEEDED) == (status == "Completed")
        assert found.state.ended == (status in {"Completed", "Failed", "Canceled"})
        assert found.console_url == "https://console"
        assert (found.started_at is None) == (found.state is State.PENDING)
    assert {status for status in DOCUMENTED if status_with(status).state is State.UNKNOWN} == {"NotResponding", "Paused", "Unknown"}
    assert set(_STATES) <= set(DOCUMENTED)


@pytest.mark.parametrize(
    ("code", "text", "left", "expected"),
    [
        (
            "UserError",
            "Execution failed. User process 'python3' exited with status code 7. Please check",
            [],
            (State.FAILED, Reason.USER_ERROR, 7),
        ),
        ("UserError", "Process 'worker 0' exited with code 64 and error message", [], (State.FAILED, Reason.USER_ERROR, 64)),
        ("UserError", "exited with status code 69", [], (State.FAILED, Reason.FABRIC, 69)),
        ("UserError", "exited with status code 75", [], (State.STOPPED, Reason.PREEMPTED, 75)),
        ("UserError", "exited with status code -9", [], (State.FAILED, Reason.USER_ERROR, 137)),
        ("UserError", "Execution failed.", [0, 7], (State.FAILED, Reason.USER_ERROR, 7)),
        ("UserError", "Execution failed.", [None, None], (State.FAILED, Reason.USER_ERROR, None)),
        ("UserError", "ImagePullFailed: manifest unknown", [None], (State.FAILED, Reason.USER_ERROR, None)),
        ("SystemError", "The node became unreachable", [None, 0], (State.FAILED, Reason.INFRA, None)),
        ("ServiceError", "InternalServerError", [75, 75], (State.STOPPED, Reason.PREEMPTED, 75)),
        ("ServiceError", "The low priority nodes were preempted", [], (State.STOPPED, Reason.PREEMPTED, None)),
        ("ServiceError", "AllocationFailed: not enough capacity", [], (State.FAILED, Reason.CAPACITY, None)),
        ("UserError", "ClusterCoreQuotaReached: the quota is used up", [], (State.FAILED, Reason.QUOTA, None)),
        ("Something", "new", [None], (State.FAILED, Reason.UNKNOWN, None)),
        ("", "", [69], (State.FAILED, Reason.FABRIC, 69)),
    ],
)
def test_a_failure_is_classified(code: str, text: str, left: list[int | None], expected: tuple[State, Reason, int | None]) -> None:
    found = status_with("Failed", left=left, error={"error": {"code": code, "message": text}})
    assert (found.state, found.reason, found.exit_code) == expected


def test_an_errors_detail_has_no_url_signature_and_may_be_missing() -> None:
    found = status_with("Failed", error={"error": {"code": "UserError", "message": "see https://a/x?sv=1&sig=SECRET now"}})
    assert found.detail == "see https://a/x now"
    assert status_with("Failed", error=None).reason is Reason.UNKNOWN


@pytest.mark.parametrize("reason", ["timeout", "cost"])
def test_a_job_cancelled_at_its_limit_has_the_limits_reason(reason: str) -> None:
    properties = {"limits": {"timeout": "PT1H"}, "environmentVariables": {"GPUYARD_LIMIT_REASON": reason}}
    assert (status_with("Canceled", properties=properties).state, status_with("Canceled", properties=properties).reason) == (
        State.FAILED,
        reason,
    )
    sooner = {**properties, "limits": {"timeout": "PT1H1M"}}
    assert (status_with("Canceled", properties=sooner).state, status_with("Canceled", properties=sooner).reason) == (State.CANCELLED, None)


def test_preempted_nodes_are_counted_as_restarts() -> None:
    assert status_with("Queued", starts=0).state is State.PENDING
    waits, runs = status_with("Queued", starts=1), status_with("Running", starts=2)
    assert (waits.state, waits.restarts, runs.state, runs.restarts) == (
        State.RECOVERING, (Reason.PREEMPTED,), State.RUNNING, (Reason.PREEMPTED,),
    )  # fmt: skip
