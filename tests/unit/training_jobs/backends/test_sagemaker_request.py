"""SageMaker: the exact CreateTrainingJob (golden files; GOLDEN=write updates them), its limits, and the tables of states and reasons."""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore import session
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.backends.sagemaker.request import job_name, request_body
from gpuyard.training_jobs.backends.sagemaker.states import _STATES, status_of, summary_status
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.target import SageMakerTarget
from tests.fakes.aws.botocore_shapes import broken_constraints
from tests.helpers.local_pool import job
from tests.helpers.sagemaker_pool import IMAGE, KEY, make_target

GOLDEN = Path(__file__).parent / "golden"
BOOTSTRAP = Path(__file__).resolve().parents[4] / "training_jobs/launch/bootstrap.py"
MODEL = session.get_session().get_service_model("sagemaker")


def a_run(target: Any, *, run_id: str = "llm-nightly-3f9a1c0b77d2", submission: int = 0, limit_s: int = 43200, **keys: Any) -> Run:
    spec = job("llm-nightly", **{"nodes": 2, **keys})
    code = Code("d" * 64, f"s3://runs/gpuyard/code/{'c' * 64}.tar.gz")
    return Run(run_id, submission, submission + 1, spec, target, code, limit_s, "timeout")


def body(target: Any, **keys: Any) -> dict[str, Any]:
    assert isinstance(target, SageMakerTarget)
    return request_body(a_run(target, **keys), target)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one-node": ({}, {"nodes": 1}),
    "two-nodes-on-demand": (
        {"encryption_key": KEY},
        {"queue_timeout": "6h", "retries": {"infra": 3}, "labels": {"team": "nlp"}, "env": {"NCCL_DEBUG": "WARN"}},
    ),
    "two-nodes-spot": ({"spot": True, "encryption_key": KEY, "instance_type": "ml.p5.48xlarge"}, {"queue_timeout": "6h", "submission": 2}),
    "two-nodes-kept-warm": ({"keep_alive_s": 1800}, {}),
    "one-node-cut-off": ({"network_isolation": True}, {"nodes": 1}),
    "cpu-with-a-key": ({"instance_type": "ml.m5.xlarge", "encryption_key": KEY}, {"nodes": 1, "queue_timeout": "5m"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_request_equals_the_golden_file(case: str) -> None:
    changes, keys = CASES[case]
    made = body(make_target(**changes), **keys)
    packed = "".join(made["AlgorithmSpecification"].pop("ContainerArguments"))
    assert zlib.decompress(base64.b64decode(packed)) == BOOTSTRAP.read_bytes()  # builds of zlib compress differently
    file = GOLDEN / f"sagemaker-{case}.json"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
    assert made == json.loads(file.read_text())


@pytest.mark.parametrize("case", CASES)
def test_the_request_matches_botocores_model(case: str) -> None:
    changes, keys = CASES[case]
    made = body(make_target(**changes), **keys)
    shape = MODEL.operation_model("CreateTrainingJob").input_shape
    assert not ParamValidator().validate(made, shape).has_errors()
    assert list(broken_constraints(made, shape)) == []


@given(
    name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True),
    digest=st.from_regex(r"[0-9a-f]{12}", fullmatch=True),
    submission=st.integers(0, 999),
    prefix=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,21}[a-z0-9])?", fullmatch=True),
)
def test_every_job_name_is_legal_and_keeps_the_digest_and_the_submission(name: str, digest: str, submission: int, prefix: str) -> None:
    target = make_target(job_prefix=f"{prefix}-")
    assert isinstance(target, SageMakerTarget)
    made = job_name(a_run(target, run_id=f"{name}-{digest}", submission=submission), target)
    assert re.fullmatch("[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", made)
    assert len(made) <= 63
    assert made.startswith(f"{prefix}-")
    assert made.endswith(f"-{digest}-{submission}")


def test_a_request_is_deterministic() -> None:
    assert body(make_target()) == body(make_target())


@pytest.mark.parametrize(
    ("changes", "keys", "message"),
    [
        ({"default_image": f"pytorch/pytorch@sha256:{'a' * 64}"}, {}, "pulls images only from ECR"),
        ({}, {"image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:latest"}, "gpuyard pin"),
        ({}, {"limit_s": 29 * 86400}, "longer than SageMaker allows, got 29.0d, allowed: <= 28d"),
        ({"run_bucket": f"s3://runs/{'x' * 500}"}, {}, "too long for SageMaker"),
        ({}, {"labels": {"stack": "mine"}}, "reserved for gpuyard"),
        ({"keep_alive_s": 600, "spot": True}, {}, "keeps no spot machines warm"),
        (
            {"network_isolation": True, "secrets": {"wandb": "arn:x"}},
            {"secrets": {"TOKEN": "wandb"}},
            "secrets: cannot be read, because the pool's containers have no network",
        ),
        ({"network_isolation": True}, {"data": {"tokens": "yard://runs/tokens"}}, "data: cannot be read"),
    ],
)
def test_a_job_that_the_service_cannot_run_is_refused_before_the_call(changes: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        body(make_target(**changes), **keys)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        body(make_target(default_image=f"pytorch/pytorch@sha256:{'a' * 64}"), limit_s=29 * 86400)
    assert [problem.key for problem in refused.value.problems] == ["image", "timeout"]


@pytest.mark.parametrize(("queue_timeout", "kept"), [("5m", 1800), ("6h", 21600), ("60d", 2419200)])
def test_the_wait_for_machines_is_clamped_to_sagemakers_range(queue_timeout: str, kept: int) -> None:
    assert body(make_target(), queue_timeout=queue_timeout)["StoppingCondition"]["MaxPendingTimeInSeconds"] == kept


def test_network_isolation_and_keep_alive_are_off_by_default() -> None:
    made = body(make_target())
    assert made["EnableNetworkIsolation"] is False
    assert "KeepAlivePeriodInSeconds" not in made["ResourceConfig"]
    assert made["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert body(make_target(), nodes=1)["EnableInterContainerTrafficEncryption"] is False
    assert body(make_target(encrypt_between_nodes=False), nodes=2)["EnableInterContainerTrafficEncryption"] is False


def described(status: str, secondary: str, **more: Any) -> dict[str, Any]:
    at = datetime(2026, 11, 22, 3, tzinfo=UTC)
    return {
        "TrainingJobStatus": status, "SecondaryStatus": secondary, "TrainingStartTime": at, "TrainingEndTime": at, "LastModifiedTime": at,
        "ResourceConfig": {"InstanceCount": 2}, **more,
    }  # fmt: skip


def test_every_status_of_the_model_is_in_the_table_or_unknown_and_only_completed_succeeds() -> None:
    statuses = MODEL.shape_for("TrainingJobStatus").enum
    secondaries = MODEL.shape_for("SecondaryStatus").enum
    for status in [*statuses, "Melting"]:
        for secondary in [*secondaries, "Boiling"]:
            found = status_of(described(status, secondary), lambda: [None, None], "https://console")
            assert (found.state is State.SUCCEEDED) == ((status, secondary) == ("Completed", "Completed"))
            assert found.state.ended <= (status in {"Completed", "Failed", "Stopped"})
            assert found.console_url == "https://console"
    assert status_of(described("Melting", "Boiling"), lambda: [], "").state is State.UNKNOWN
    assert status_of(described("Completed", "Boiling"), lambda: [], "").state is State.UNKNOWN
    assert {status for status, _ in _STATES} <= set(statuses)


def test_all_secondary_statuses_of_a_job_in_progress_are_known() -> None:
    """It fails when a new botocore has a status that the table lacks."""
    known = {secondary for status, secondary in _STATES if status == "InProgress"}
    ends = {"Completed", "Failed", "Stopped", "Stopping", "MaxRuntimeExceeded", "MaxWaitTimeExceeded"}
    assert set(MODEL.shape_for("SecondaryStatus").enum) == known | ends


def test_a_summary_decides_only_waiting_and_running_jobs() -> None:
    """A job that has ended or restarted needs its reasons, so it is described on its own."""
    for status in MODEL.shape_for("TrainingJobStatus").enum:
        for secondary in [*MODEL.shape_for("SecondaryStatus").enum, "Boiling"]:
            described_status = status_of(described(status, secondary), lambda: [], "https://console")
            found = summary_status(described(status, secondary), "https://console")
            wanted = status == "InProgress" and described_status.state in {State.PENDING, State.RUNNING}
            assert (found is not None) == wanted
            assert found is None or (found.state, found.detail, found.console_url) == (
                described_status.state,
                described_status.detail,
                described_status.console_url,
            )
            assert found is None or (found.started_at is not None) == (found.state is State.RUNNING)
    assert summary_status({"TrainingJobStatus": "InProgress"}, "") is None


@pytest.mark.parametrize(
    ("text", "left", "expected"),
    [
        ("AlgorithmError: , exit code: 7", [], (State.FAILED, Reason.USER_ERROR, 7)),
        ("AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nexit code: 64", [], (State.FAILED, Reason.USER_ERROR, 64)),
        ("AlgorithmError: , exit code: 69", [], (State.FAILED, Reason.FABRIC, 69)),
        ("AlgorithmError: , exit code: 75", [], (State.STOPPED, Reason.PREEMPTED, 75)),
        ("AlgorithmError: , exit code: 137", [], (State.FAILED, Reason.USER_ERROR, 137)),
        ("AlgorithmError: framework error", [0, 7], (State.FAILED, Reason.USER_ERROR, 7)),
        ("AlgorithmError: framework error", [None, None], (State.FAILED, Reason.USER_ERROR, None)),
        ("ClientError: Failed to pull the image", [None, None], (State.FAILED, Reason.USER_ERROR, None)),
        ("InternalServerError: We encountered an internal error.  Please try again.", [None, 0], (State.FAILED, Reason.INFRA, None)),
        ("InternalServerError: We encountered an internal error.", [75, 75], (State.STOPPED, Reason.PREEMPTED, 75)),
        ("CapacityError: Unable to provision requested ML compute capacity.", [], (State.FAILED, Reason.CAPACITY, None)),
        ("ResourceLimitExceeded: The account-level service limit", [], (State.FAILED, Reason.QUOTA, None)),
        ("The spot instances were interrupted", [], (State.STOPPED, Reason.PREEMPTED, None)),
        ("Something new", [None], (State.FAILED, Reason.UNKNOWN, None)),
        ("", [69], (State.FAILED, Reason.FABRIC, 69)),
    ],
)
def test_a_failure_is_classified(text: str, left: list[int | None], expected: tuple[State, Reason, int | None]) -> None:
    found = status_of(described("Failed", "Failed", FailureReason=text), lambda: left, "")
    assert (found.state, found.reason, found.exit_code) == expected


def test_a_reached_limit_has_the_reason_of_the_request() -> None:
    for reason in ("timeout", "cost"):
        job_ = described("Stopped", "MaxRuntimeExceeded", Environment={"GPUYARD_LIMIT_REASON": reason})
        assert status_of(job_, lambda: [], "").reason == reason
