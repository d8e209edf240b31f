"""The base class of the AWS fakes with real boto3: accepted requests, refusals, scripted faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.fakes.aws.botocore_service import DENIED, EXPIRED, LOST, THROTTLED, UNAVAILABLE, Body, FakeService, RefusalError
from tests.fakes.aws.cloudwatch_logs import FakeLogs


class Tags(FakeService):
    """A service with one operation with a body, two with an ARN in the path, one with a list in the query."""

    name = "batch"

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, dict[str, str]] = {}
        self.wrong = False

    def tag_resource(self, body: Body) -> None:
        self.tags.setdefault(body["resourceArn"], {}).update(body["tags"])

    def untag_resource(self, body: Body) -> None:
        for key in body["tagKeys"]:
            self.tags[body["resourceArn"]].pop(key)

    def list_tags_for_resource(self, body: Body) -> Body:
        if body["resourceArn"] not in self.tags:
            raise RefusalError("ClientException", "no such resource")
        return {"tags": self.tags[body["resourceArn"]]} | ({"colour": "red"} if self.wrong else {})

    def submit_job(self, body: Body) -> Body:
        return {"jobName": body["jobName"], "jobId": "1"}


@pytest.fixture
def fake() -> Iterator[Tags]:
    with Tags() as fake:
        yield fake


def client(fake: FakeService, attempts: int = 1) -> Any:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client(
        fake.name, endpoint_url=fake.url, config=Config(retries={"mode": "standard", "total_max_attempts": attempts}), **keys
    )


def test_path_and_query_are_parsed_by_the_model(fake: Tags) -> None:
    arn = "arn:aws:batch:us-east-1:123456789012:job-queue/a"
    batch = client(fake)
    batch.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    batch.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert batch.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    assert [call.operation for call in fake.calls] == ["TagResource", "UntagResource", "ListTagsForResource"]
    assert fake.calls[0].headers["Authorization"].startswith("AWS4-HMAC-SHA256")


def test_an_error_of_the_model_is_the_clients_exception(fake: Tags) -> None:
    batch = client(fake)
    with pytest.raises(batch.exceptions.ClientException, match="no such resource"):
        batch.list_tags_for_resource(resourceArn="arn:aws:batch:us-east-1:123456789012:job-queue/b")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"jobName": "a", "jobQueue": "q"}, "Missing required parameter"),
        ({"jobName": "a", "jobQueue": "q", "jobDefinition": "d", "nodes": 2}, "Unknown parameter"),
        ({"jobName": "a", "jobQueue": "q", "jobDefinition": "d", "retryStrategy": {"attempts": "two"}}, "Invalid type"),
        ({"jobName": "a", "jobQueue": "q", "jobDefinition": "d", "tags": {"k": "v" * 300}}, "length 300 is above 256"),
    ],
)
def test_a_body_outside_the_model_is_refused(fake: Tags, body: dict[str, Any], said: str) -> None:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    unchecked = boto3.client("batch", endpoint_url=fake.url, config=Config(parameter_validation=False), **keys)
    unknown = {name: body.pop(name) for name in ["nodes"] if name in body}
    unchecked.meta.events.register("before-call.batch.SubmitJob", lambda params, **_: _add(params, unknown))
    with pytest.raises(ClientError, match=said):
        unchecked.submit_job(**body)


def _add(params: dict[str, Any], more: dict[str, Any]) -> None:
    import json

    params["body"] = json.dumps({**json.loads(params["body"]), **more}).encode()


@pytest.mark.parametrize(("fault", "code"), [(THROTTLED, "ThrottlingException"), (DENIED, "AccessDeniedException"),
                                             (EXPIRED, "ExpiredTokenException"), (UNAVAILABLE, "ServiceUnavailable")])  # fmt: skip
def test_scripted_refusals_hit_the_chosen_call(fake: Tags, fault: Any, code: str) -> None:
    batch = client(fake)
    fake.fail("SubmitJob", fault, call=2)
    body = {"jobName": "a", "jobQueue": "q", "jobDefinition": "d"}
    batch.submit_job(**body)
    with pytest.raises(ClientError) as refused:
        batch.submit_job(**body)
    assert refused.value.response["Error"]["Code"] == code
    batch.submit_job(**body)
    assert fake.count("SubmitJob") == 3


def test_a_lost_answer_is_lost_after_the_call_was_made(fake: Tags) -> None:
    batch = client(fake)
    fake.fail("TagResource", LOST)
    arn = "arn:aws:batch:us-east-1:123456789012:job-queue/a"
    with pytest.raises(ConnectionClosedError):
        batch.tag_resource(resourceArn=arn, tags={"a": "1"})
    assert fake.tags == {arn: {"a": "1"}}


def test_boto3s_retries_survive_throttling_and_5xx(fake: Tags) -> None:
    fake.fail("SubmitJob", THROTTLED)
    fake.fail("SubmitJob", UNAVAILABLE, call=2)
    assert client(fake, 3).submit_job(jobName="a", jobQueue="q", jobDefinition="d")["jobId"] == "1"


def test_a_response_outside_the_model_fails_the_test() -> None:
    arn = "arn:aws:batch:us-east-1:123456789012:job-queue/a"
    fake = Tags()
    fake.wrong = True
    fake.__enter__()
    client(fake).tag_resource(resourceArn=arn, tags={})
    with pytest.raises(ClientError):
        client(fake).list_tags_for_resource(resourceArn=arn)
    with pytest.raises(AssertionError, match="colour"):
        fake.__exit__()


def test_a_json_service_is_found_by_its_target_and_pages_end_with_the_same_token() -> None:
    with FakeLogs(page=2, gaps=True) as fake:
        logs = client(fake)
        with pytest.raises(logs.exceptions.ResourceNotFoundException):
            logs.get_log_events(logGroupName="g", logStreamName="s")
        group = fake.group("g")
        for index in range(5):
            fake.write(group, "s/1", f"line {index}", at=1000.0 + index)
        said, token, pages = [], None, 0
        while True:
            page = logs.get_log_events(
                logGroupName="g", logStreamName="s/1", startFromHead=True, startTime=1_001_000, **({"nextToken": token} if token else {})
            )
            said += [event["message"] for event in page["events"]]
            pages += 1
            if page["nextForwardToken"] == token:
                break
            token = page["nextForwardToken"]
        assert said == ["line 1", "line 2", "line 3", "line 4"]
        assert pages > 3  # empty pages that were not the last among them
        assert [s["logStreamName"] for s in logs.describe_log_streams(logGroupName="g")["logStreams"]] == ["s/1"]
