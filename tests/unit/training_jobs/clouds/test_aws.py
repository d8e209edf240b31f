"""AWS clients: translation of errors, calls that must start exactly one job, and renewed credentials."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from gpuyard.training_jobs.backends.submit_once import submit_once
from gpuyard.training_jobs.clouds import aws
from gpuyard.training_jobs.clouds.aws_errors import _CLASSES, _CODES, error_kind, translate_error
from gpuyard.training_jobs.errors import AuthError, CapacityError, LostSightError, NotFoundError, QuotaError, UsageError
from tests.fakes.aws.botocore_service import EXPIRED, LOST, THROTTLED, UNAVAILABLE, Body, FakeService, Fault

URL = "http://127.0.0.1:1"


def client_error(code: str, message: str = "no", status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "SubmitJob")


@pytest.mark.parametrize(
    ("error", "job_may_run", "expected"),
    [
        (client_error("AccessDeniedException"), False, AuthError),
        (client_error("AccessDeniedException"), True, AuthError),
        (client_error("ExpiredTokenException"), False, AuthError),
        (client_error("ExpiredTokenException"), True, LostSightError),
        (NoCredentialsError(), False, AuthError),
        (NoCredentialsError(), True, LostSightError),
        (client_error("ThrottlingException"), True, LostSightError),
        (client_error("ServerException", status=500), True, LostSightError),
        (EndpointConnectionError(endpoint_url=URL), False, LostSightError),
        (ConnectionClosedError(endpoint_url=URL), True, LostSightError),
        (ReadTimeoutError(endpoint_url=URL), True, LostSightError),
        (client_error("ResourceLimitExceeded"), False, QuotaError),
        (client_error("InsufficientInstanceCapacity"), False, CapacityError),
        (client_error("ClientException", "Job queue not found"), False, UsageError),
        (client_error("ResourceNotFoundException"), True, NotFoundError),
        (client_error("Unheard", status=429), True, LostSightError),
        (ParamValidationError(report="no such key"), False, UsageError),
        (ResponseParserError("not JSON"), False, LostSightError),  # an unreadable answer leaves open whether the call was made
    ],
)
def test_an_error_gets_its_gpuyard_class(error: Exception, job_may_run: bool, expected: type[Exception]) -> None:
    found = translate_error(error, "batch submit_job", job_may_run=job_may_run)
    assert type(found) is expected
    assert "batch submit_job" in str(found)


def test_no_code_and_no_class_is_in_two_rows() -> None:
    for table in (_CODES, _CLASSES):
        every = [name for names in table.values() for name in names]
        assert len(every) == len(set(every))
    assert error_kind(BotoCoreError()) == "lost"  # after an unknown error the call may have been made


def test_an_error_shows_no_signature_and_no_token() -> None:
    secret = "x-amz-security-token:FwoGZXIvYXdzEXAMPLE"
    for code in ("SignatureDoesNotMatch", "InvalidSignatureException"):
        assert "FwoGZXIv" not in str(translate_error(client_error(code, secret), "batch submit_job", job_may_run=False))
    signed = "cannot read https://s3.amazonaws.com/b/k?X-Amz-Signature=abcdef now"
    message = str(translate_error(client_error("ClientException", signed), "batch submit_job", job_may_run=False))
    assert "abcdef" not in message
    assert "https://s3.amazonaws.com/b/k now" in message


class Jobs(FakeService):
    """A service without client tokens: the same call twice starts two jobs."""

    name = "batch"

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[str] = []

    def submit_job(self, body: Body) -> Body:
        self.jobs.append(body["jobName"])
        return {"jobName": body["jobName"], "jobId": str(len(self.jobs))}

    def list_jobs(self, body: Body) -> Body:
        return {"jobSummaryList": [{"jobId": str(index + 1), "jobName": name} for index, name in enumerate(self.jobs)]}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "MAX_ATTEMPTS": "2"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with Jobs() as fake:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", fake.url)
        yield fake


def submit_job(slept: list[float], within_s: float = 60) -> str:
    clients = aws.aws_clients("us-east-1")
    body = {"jobName": "a", "jobQueue": "q", "jobDefinition": "d"}

    def find() -> str | None:
        found: list[dict[str, Any]] = clients.call("batch", "list_jobs", {"jobQueue": "q"})["jobSummaryList"]
        return str(found[0]["jobId"]) if found else None

    def attempt() -> str:
        return str(clients.call("batch", "submit_job", body, single_attempt=True)["jobId"])

    return submit_once(attempt, find, error_kind, slept.append, until=time.monotonic() + within_s)


@pytest.mark.parametrize(("fault", "calls"), [(THROTTLED, 3), (UNAVAILABLE, 3)])
def test_a_throttled_call_is_repeated(fake: Jobs, fault: Fault, calls: int) -> None:
    fake.fail("SubmitJob", fault, times=2)
    slept: list[float] = []
    assert submit_job(slept) == "1"
    assert fake.jobs == ["a"]
    assert fake.count("SubmitJob") == calls
    assert slept


def test_a_lost_answer_starts_no_second_job(fake: Jobs) -> None:
    fake.fail("SubmitJob", LOST)
    assert submit_job([]) == "1"
    assert fake.jobs == ["a"]
    assert fake.count("SubmitJob") == 1


def test_a_lost_answer_without_a_listed_job_raises_lost_sight(fake: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.fail("SubmitJob", LOST)
    monkeypatch.setattr(Jobs, "list_jobs", lambda self, body: {"jobSummaryList": []})
    with pytest.raises(LostSightError, match="look up the job"):
        submit_job([])
    assert fake.jobs == ["a"]


def test_lasting_throttling_raises_lost_sight(fake: Jobs) -> None:
    fake.fail("SubmitJob", THROTTLED, times=10)
    with pytest.raises(LostSightError, match="Rate exceeded"):
        submit_job([])
    assert fake.jobs == []


def test_no_call_is_made_after_another_submit_may_have_taken_over(fake: Jobs) -> None:
    with pytest.raises(LostSightError, match="too slowly"):
        submit_job([], within_s=-1)
    assert fake.count("SubmitJob") == 0


def test_renewed_credentials_are_read_again(fake: Jobs) -> None:
    fake.fail("ListJobs", EXPIRED)
    assert aws.aws_clients("us-east-1").call("batch", "list_jobs", {"jobQueue": "q"}, job_may_run=True) is not None
    assert fake.count("ListJobs") == 2
    fake.fail("ListJobs", EXPIRED, times=2)
    with pytest.raises(LostSightError, match="may still run"):
        aws.aws_clients("us-east-1").call("batch", "list_jobs", {"jobQueue": "q"}, job_may_run=True)


def test_clients_are_shared_until_the_environment_changes(fake: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = aws.aws_clients("us-east-1")
    assert aws.aws_clients("us-east-1") is first
    assert aws.aws_clients("us-west-2") is not first
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert aws.aws_clients("us-east-1") is not first
