"""The principal of a submitter: what AWS, Google Cloud, Azure and this machine report, and what a record and a submit say about it."""

from __future__ import annotations

import base64
import json
import os
import pwd
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpuyard.stacks.cli.view import summary
from gpuyard.training_jobs.backends.local import LocalBackend
from gpuyard.training_jobs.clouds.aws import AwsClients
from gpuyard.training_jobs.clouds.azure import AzureClients
from gpuyard.training_jobs.clouds.gcp import GcpClients
from gpuyard.training_jobs.clouds.token_claims import read_claims
from gpuyard.training_jobs.target import LocalTarget
from tests.fakes.aws.moto_server import moto
from tests.fakes.azure import entra
from tests.fakes.gcp.workload_identity import FakeTokenExchange
from tests.helpers.local_pool import job, make_target, record_file
from tests.unit.training_jobs.lifecycle.test_polling import RUNNING, Yard


def token(**claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.sig"


def signed_in(**fields: object) -> Any:
    return SimpleNamespace(valid=True, **fields)


def test_aws_reports_the_arn_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto(monkeypatch):
        assert AwsClients("us-east-1").principal == "arn:aws:sts::123456789012:user/moto"


def test_aws_without_sts_has_no_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    assert AwsClients("us-east-1", endpoints={"sts": "http://127.0.0.1:9"}).principal is None


@pytest.mark.parametrize(
    ("credentials", "principal"),
    [
        (signed_in(service_account_email="ci@acme.iam.gserviceaccount.com"), "ci@acme.iam.gserviceaccount.com"),
        (signed_in(id_token=token(email="alice@acme.io", sub="1"), account=""), "alice@acme.io"),
        (signed_in(id_token=None, account="alice@acme.io"), "alice@acme.io"),
        (signed_in(service_account_email=None, retrieve_subject_token=lambda _: token(sub="repo:acme/nlp:ref:refs/heads/main")),
         "repo:acme/nlp:ref:refs/heads/main"),
        (signed_in(service_account_email=None, retrieve_subject_token=lambda _: "opaque"), None),
        (signed_in(), None),
    ],
)  # fmt: skip
def test_google_cloud_reports_account_user_or_workload(credentials: Any, principal: str | None) -> None:
    assert GcpClients("acme", "us-central1", signed_in=credentials).principal == principal


def test_google_cloud_without_a_token_has_no_principal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTokenExchange() as tokens:
        for name, value in tokens.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
    assert GcpClients("acme", "us-central1").principal is None  # the token service is gone


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        (token(upn="alice@acme.io", oid="0f", appid="04"), "alice@acme.io (object 0f)"),
        (token(unique_name="live.com#bob@acme.io", oid="0f"), "live.com#bob@acme.io (object 0f)"),
        (entra.access_token("https://management.azure.com", entra.CLIENT), f"{entra.CLIENT} (object {entra.CLIENT})"),
        (token(appid="04"), "04"),
        ("opaque", None),
    ],
)
def test_azure_reports_the_user_or_application_and_its_object(text: str, principal: str | None) -> None:
    identity = SimpleNamespace(get_token=lambda _: SimpleNamespace(token=text))
    assert AzureClients(sign_in=lambda: identity).principal == principal


def test_azure_without_a_token_has_no_principal() -> None:
    from azure.core.exceptions import ClientAuthenticationError

    def refuse(_: str) -> None:
        raise ClientAuthenticationError("no")

    assert AzureClients(sign_in=lambda: SimpleNamespace(get_token=refuse)).principal is None


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.!.c", f"a.{base64.b64encode(b'[]').decode()}.c", f"a.{base64.b64encode(b'[' * 9999).decode()}.c"]
)
def test_a_token_without_claims_has_none(text: str) -> None:
    assert read_claims(text) == {}


def test_this_machine_reports_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = make_target(tmp_path)
    assert isinstance(target, LocalTarget)
    assert LocalBackend(target).principal() == f"{pwd.getpwuid(os.getuid()).pw_name}@{os.uname().nodename}"
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert LocalBackend(target).principal() == f"uid {2**31 - 7}@{os.uname().nodename}"


def test_the_submitter_is_recorded_and_shown(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    run = yard.submit()
    assert json.loads(record_file(tmp_path, run).read_text())["submissions"][0]["submitter"] == "alice@acme.io"
    yard.service.caller = "bob@acme.io"
    assert yard.runner.runs()[0].submitted_by == yard.runner.status(run).submitted_by == "alice@acme.io"
    assert "  submitted by  alice@acme.io\n" in summary(yard.runner.status(run))


@pytest.mark.parametrize(
    ("recorded", "caller", "note"),
    [
        ("alice@acme.io", "alice@acme.io", ""),
        ("alice@acme.io", "bob@acme.io", "; the run was submitted by alice@acme.io"),
        ("alice@acme.io", None, "; the run was submitted by alice@acme.io"),
        (None, "bob@acme.io", "; the run was submitted by an unknown principal"),
        (None, None, ""),
    ],
)
def test_a_submit_names_the_submitter_of_an_adopted_run(tmp_path: Path, recorded: str | None, caller: str | None, note: str) -> None:
    yard = Yard(tmp_path)
    yard.service.caller, yard.service.answers = recorded, deque([RUNNING])
    yard.submit()
    yard.service.caller = caller
    submitted = yard.runner.submit(job(), None)
    assert (submitted.created, submitted.note) == (False, f"adopted: it is RUNNING{note}")
