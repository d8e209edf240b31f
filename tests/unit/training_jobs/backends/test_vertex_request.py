"""Vertex AI: the exact CustomJob (golden files; GOLDEN=write updates them), its limits, and the tables of states and error texts."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import CustomJob, JobState
from google.cloud.aiplatform_v1.types.accelerator_type import AcceleratorType
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.training_jobs.backends.labels import gcp_label_value
from gpuyard.training_jobs.backends.vertex import VertexBackend, _message
from gpuyard.training_jobs.backends.vertex.request import job_name, label_filter, request_body
from gpuyard.training_jobs.backends.vertex.states import _ALIVE, JobFields, status_of
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.run import Code, Run
from gpuyard.training_jobs.state import Reason, State
from gpuyard.training_jobs.target import VertexTarget
from tests.fakes.gcp.vertex import STOCKOUT
from tests.fakes.gcp.vertex_rules import broken_rules
from tests.helpers.local_pool import job
from tests.helpers.vertex_pool import IMAGE, KEY, make_target

GOLDEN = Path(__file__).parent / "golden"
BOOTSTRAP = Path(__file__).resolve().parents[4] / "training_jobs/launch/bootstrap.py"
RESERVATION = "projects/acme-ml/zones/us-central1-a/reservations/h200"
ATTACHMENT = "projects/acme-ml/regions/us-central1/networkAttachments/yard"
H200: dict[str, Any] = {"machine": "a3-ultragpu-8g", "accelerator": "H200", "accelerator_type": "NVIDIA_H200_141GB", "gpus_per_node": 8}


def a_run(target: Any, *, run_id: str = "llm-nightly-3f9a1c0b77d2", submission: int = 0, limit_s: int = 43200, **keys: Any) -> Run:
    spec = job("llm-nightly", **{"nodes": 2, **keys})
    code = Code("d" * 64, f"gs://runs/gpuyard/code/{'c' * 64}.tar.gz")
    return Run(run_id, submission, submission + 1, spec, target, code, limit_s, "timeout")


def body(target: Any, **keys: Any) -> dict[str, Any]:
    assert isinstance(target, VertexTarget)
    return request_body(a_run(target, **keys), target)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one-node": ({}, {"nodes": 1}),
    "two-nodes-spot": ({"spot": True, "strategy": "spot", "encryption_key": KEY}, {"queue_timeout": "6h", "submission": 2}),
    "three-nodes-reserved": (
        {**H200, "reservation": RESERVATION, "network_attachment": ATTACHMENT, "boot_disk_type": "hyperdisk-balanced"},
        {"nodes": 3, "labels": {"team": "nlp"}, "env": {"NCCL_DEBUG": "WARN"}, "retries": {"infra": 3}},
    ),
    "two-nodes-flex-start": ({**H200, "strategy": "flex_start"}, {"queue_timeout": "2h"}),
    "two-nodes-persistent": ({"persistent_resource": "yard-l4", "encryption_key": KEY}, {}),
    "cpu": ({"machine": "n2-standard-8", "accelerator": None, "gpus_per_node": 0, "accelerator_type": ""}, {"nodes": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_request_equals_the_golden_file(case: str) -> None:
    changes, keys = CASES[case]
    made = json.loads(json.dumps(body(make_target(**changes), **keys)))
    for pool in made["jobSpec"]["workerPoolSpecs"]:
        assert pool["containerSpec"]["command"] == ["python3", "-c", BOOTSTRAP.read_text()]
        pool["containerSpec"]["command"] = ["python3", "-c", "bootstrap.py"]
    file = GOLDEN / f"vertex-{case}.json"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
    assert made == json.loads(file.read_text())


@pytest.mark.parametrize("case", CASES)
def test_the_request_is_a_valid_message_and_breaks_no_rule(case: str) -> None:
    changes, keys = CASES[case]
    made = body(make_target(**changes), **keys)
    message = _message(made)
    assert broken_rules(message) == []
    written = json.loads(CustomJob.to_json(message, use_integers_for_enums=False, always_print_fields_with_no_presence=False))
    kept = {"restartJobOnWorkerRestart", "maxWaitDuration"}  # false and empty values are not written out
    assert written["jobSpec"]["scheduling"] == {name: value for name, value in made["jobSpec"]["scheduling"].items() if value is not False}
    assert kept >= set(made["jobSpec"]["scheduling"]) - {"strategy", "timeout", "disableRetries"}
    assert written["labels"] == made["labels"]
    assert [pool["replicaCount"] for pool in written["jobSpec"]["workerPoolSpecs"]] == [
        pool["replicaCount"] for pool in made["jobSpec"]["workerPoolSpecs"]
    ]


def test_a_shell_in_the_browser_is_off_unless_the_pool_asks_for_it() -> None:
    made = body(make_target(web_access=True))
    assert CustomJob.from_json(json.dumps(made)).job_spec.enable_web_access
    assert "enableWebAccess" not in body(make_target())["jobSpec"]


def test_a_flex_start_job_always_has_a_max_wait_duration() -> None:
    assert body(make_target(strategy="flex_start"))["jobSpec"]["scheduling"]["maxWaitDuration"] == "0s"  # no limit
    assert "maxWaitDuration" not in body(make_target(), queue_timeout="2h")["jobSpec"]["scheduling"]


def test_a_value_that_the_installed_client_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="pip install -U"):
        _message(body(make_target(accelerator_type="NVIDIA_X1000")))
    assert "NVIDIA_L4" in AcceleratorType.__members__


@given(
    name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True),
    digest=st.from_regex(r"[0-9a-f]{12}", fullmatch=True),
    submission=st.integers(0, 999),
    prefix=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,21}[a-z0-9])?", fullmatch=True),
)
def test_every_job_name_is_legal_and_keeps_the_digest_and_the_submission(name: str, digest: str, submission: int, prefix: str) -> None:
    target = make_target(job_prefix=f"{prefix}-")
    assert isinstance(target, VertexTarget)
    run = a_run(target, run_id=f"{name}-{digest}", submission=submission)
    made = job_name(run, target)
    assert len(made) <= 128
    assert made.startswith(f"{prefix}-")
    assert made.endswith(f"-{digest}-{submission}")
    assert label_filter(run) == f'labels.gpuyard_run="{name}-{digest}" AND labels.gpuyard_submission="{submission}"'
    assert label_filter(dataclasses.replace(run, nonce="1a2b")).endswith(f'labels.gpuyard_submission="{submission}-1a2b"')


@given(st.text(max_size=120))
def test_any_text_makes_a_legal_label(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", gcp_label_value(text))


@pytest.mark.parametrize(
    ("changes", "keys", "message"),
    [
        ({"default_image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/t@sha256:{'a' * 64}"}, {}, "Artifact Registry and Docker Hub"),
        ({}, {"image": "us-docker.pkg.dev/acme/train:latest"}, "gpuyard pin"),
        (
            {"strategy": "flex_start"},
            {"limit_s": 8 * 86400},
            "longer than flex start keeps the pool's machines, got 192h, allowed: <= 168h",
        ),
        (
            {"strategy": "flex_start", "max_hours": 24},
            {"limit_s": 25 * 3600},
            "got 25h, allowed: <= 24h; lower timeout, or raise max_hours",
        ),
        ({"strategy": "flex_start", "reservation": RESERVATION}, {}, "strategy flex_start cannot use reserved or persistent machines"),
        ({"strategy": "spot", "spot": True, "persistent_resource": "yard"}, {}, "strategy spot cannot use reserved or persistent machines"),
        ({"reservation": RESERVATION, "persistent_resource": "yard"}, {}, "cannot use a reservation"),
        ({}, {"labels": {"gpuyard_run": "mine"}}, "reserved for gpuyard"),
        ({}, {"labels": {"Team": "NLP"}}, "not a valid label"),
        ({}, {"labels": {f"l{number}": "x" for number in range(70)}}, "too many"),
    ],
)
def test_a_job_that_the_service_cannot_run_is_refused_before_the_call(changes: dict[str, Any], keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        body(make_target(**changes), **keys)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        body(make_target(default_image="quay.io/x/y@sha256:" + "a" * 64, strategy="flex_start", reservation=RESERVATION), limit_s=8 * 86400)
    assert [problem.key for problem in refused.value.problems] == ["image", "timeout", "pool"]


@pytest.mark.parametrize("image", [f"pytorch/pytorch@sha256:{'a' * 64}", f"docker.io/pytorch/pytorch@sha256:{'a' * 64}", IMAGE])
def test_images_of_docker_hub_and_artifact_registry_are_accepted(image: str) -> None:
    made = body(make_target(), image=image)
    assert {pool["containerSpec"]["imageUri"] for pool in made["jobSpec"]["workerPoolSpecs"]} == {image}


def test_a_request_is_deterministic_and_makes_no_call() -> None:
    target = make_target()
    assert isinstance(target, VertexTarget)
    (request,) = VertexBackend(target).request(a_run(target))
    assert (request.operation, request.body["parent"]) == ("CreateCustomJob", "projects/acme-ml/locations/us-central1")
    assert request.body["customJob"] == body(target) == body(target)


def fields(state: str, error: str = "", *, ran_s: float | None = 60, limit_s: float = 3600, reason: Reason = Reason.TIMEOUT) -> JobFields:
    return JobFields(state, error, 900.0, None if ran_s is None else 1000.0, 1000.0 + (ran_s or 0), limit_s, reason)


def test_every_job_state_is_in_the_table_or_unknown_and_only_succeeded_succeeds() -> None:
    over = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED"}
    for state in [*JobState.__members__, "JOB_STATE_MELTING"]:
        found = status_of(fields(state), lambda: [None, None], "https://console")
        assert (found.state is State.SUCCEEDED) == (state == "JOB_STATE_SUCCEEDED")
        assert found.state.ended == (state in over)
        assert found.console_url == "https://console"
    assert set(JobState.__members__) == {
        *over,
        *_ALIVE,
        "JOB_STATE_UNSPECIFIED",
    }  # fails when a new client has a state that the table lacks
    assert status_of(fields("JOB_STATE_MELTING"), lambda: [], "").state is State.UNKNOWN


REPLICA = "The replica workerpool1-0 exited with a non-zero status of {}. Termination reason: Error."
QUOTA = "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus"


@pytest.mark.parametrize(
    ("text", "left", "ran_s", "expected"),
    [
        (REPLICA.format(7), [], 60, (State.FAILED, Reason.USER_ERROR, 7)),
        (REPLICA.format(1), [0, 64], 60, (State.FAILED, Reason.USER_ERROR, 64)),
        (REPLICA.format(69), [None, None], 60, (State.FAILED, Reason.FABRIC, 69)),
        (REPLICA.format(75), [], 60, (State.STOPPED, Reason.PREEMPTED, 75)),
        ("The replica workerpool0-0 ran out of memory and exited with a non-zero status of 137.", [], 60,
         (State.FAILED, Reason.USER_ERROR, 137)),
        (STOCKOUT, [], None, (State.FAILED, Reason.CAPACITY, None)),
        (STOCKOUT, [None, None], 60, (State.STOPPED, Reason.PREEMPTED, None)),
        (STOCKOUT, [75, 75], 60, (State.STOPPED, Reason.PREEMPTED, 75)),
        (QUOTA, [], None, (State.FAILED, Reason.QUOTA, None)),
        ("Internal error occurred for the current attempt", [None, 0], 60, (State.FAILED, Reason.INFRA, None)),
        ("The worker was preempted.", [None, None], 60, (State.STOPPED, Reason.PREEMPTED, None)),
        ("Permission denied: the service agent cannot pull the image", [], None, (State.FAILED, Reason.USER_ERROR, None)),
        ("Something new", [None], 60, (State.FAILED, Reason.UNKNOWN, None)),
        ("Something new", [75, 75], 3600, (State.FAILED, Reason.TIMEOUT, None)),
        ("The job exceeded the maximum run time", [75], 3599, (State.FAILED, Reason.TIMEOUT, None)),
        ("", [69], 60, (State.FAILED, Reason.FABRIC, 69)),
    ],
)  # fmt: skip
def test_a_failure_is_classified(
    text: str, left: list[int | None], ran_s: float | None, expected: tuple[State, Reason | None, int | None]
) -> None:
    for state in ("JOB_STATE_FAILED", "JOB_STATE_PARTIALLY_SUCCEEDED"):
        found = status_of(fields(state, text, ran_s=ran_s), lambda: left, "")
        assert (found.state, found.reason, found.exit_code) == expected


@pytest.mark.parametrize(
    ("state", "ran_s", "expected"),
    [
        ("JOB_STATE_CANCELLED", 60, (State.CANCELLED, None)),
        ("JOB_STATE_CANCELLED", None, (State.CANCELLED, None)),
        ("JOB_STATE_CANCELLED", 3600, (State.FAILED, Reason.COST)),
        ("JOB_STATE_EXPIRED", 3600, (State.FAILED, Reason.COST)),
        ("JOB_STATE_EXPIRED", None, (State.FAILED, Reason.CAPACITY)),
    ],
)
def test_a_reached_limit_has_the_reason_of_the_request(state: str, ran_s: float | None, expected: tuple[State, Reason | None]) -> None:
    found = status_of(fields(state, ran_s=ran_s, reason=Reason.COST), lambda: [75, 75], "")
    assert (found.state, found.reason) == expected
