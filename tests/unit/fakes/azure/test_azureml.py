"""The Azure fakes refuse what Azure would (callers, hosts, names, bodies, later changes) and produce scripted faults."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpuyard.training_jobs.backends.azureml.request import environment_of, request_body
from gpuyard.training_jobs.run import Code, Run
from tests.fakes.azure.azureml import SAS, WORKSPACE, FakeAzureMl
from tests.fakes.azure.blob_storage import signed_in
from tests.fakes.azure.entra import CLIENT, SUBJECT_TOKEN, access_token
from tests.fakes.azure.https_service import LOST, THROTTLED
from tests.helpers.azureml_pool import hosts, make_target, service
from tests.helpers.local_pool import job

ARM = "https://management.azure.com"


@pytest.fixture
def ml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAzureMl]:
    with service(tmp_path, monkeypatch, program="print('runs')") as found, signed_in(tmp_path, monkeypatch, hosts(found)):
        found.machines = 0
        yield found


def ask(
    verb: str, url: str, body: Any = None, *, audience: str | None = ARM, client: str = CLIENT, lifetime_s: float = 60
) -> tuple[int, Any]:
    """Call with a client that knows nothing of Azure: only the proxy variables lead it to the fake."""
    import requests

    headers = {} if audience is None else {"Authorization": f"Bearer {access_token(audience, client, lifetime_s)}"}
    answer = requests.request(verb, url, json=body, headers=headers, timeout=30)
    return answer.status_code, json.loads(answer.content) if answer.content else None


def a_job() -> dict[str, Any]:
    target: Any = make_target()
    run = Run("a-3f9a1c0b77d2", 0, 1, job("a", nodes=2), target, Code("d" * 64, "abfs://x/c.tar.gz"), 3600, "timeout")
    environment, body = environment_of(target.default_image, target)
    assert ask("PUT", f"{ARM}{environment}?api-version=1", body)[0] == 201
    return request_body(run, target)


def put(name: str, body: Any) -> tuple[int, Any]:
    return ask("PUT", f"{ARM}{WORKSPACE}/jobs/{name}?api-version=1", body)


def test_callers_without_a_valid_token_for_it_are_refused(ml: FakeAzureMl) -> None:
    url = f"{ARM}{WORKSPACE}/jobs/none"
    refused = [
        ask("GET", url, audience=None), ask("GET", url, audience="https://storage.azure.com"), ask("GET", url, client="somebody"),
        ask("GET", url, lifetime_s=-1), ask("GET", f"https://eastus2.api.azureml.ms/history/v1.0{WORKSPACE}/runs/none"),
    ]  # fmt: skip
    assert [status for status, _ in refused] == [401] * 5
    assert ask("GET", url)[0] == 404


def test_a_second_put_may_change_tags_and_nothing_else(ml: FakeAzureMl) -> None:
    body = a_job()
    assert put("mine", body)[0] == 201
    assert put("mine", body)[0] == 200
    tagged = copy.deepcopy(body)
    tagged["properties"]["tags"] = {"new": "tag"}
    assert put("mine", tagged)[1]["properties"]["tags"] == {"new": "tag"}
    tagged["properties"]["command"] = "echo"
    status, told = put("mine", tagged)
    assert (status, told["error"]["message"]) == (400, "A job with this name already exists; immutable: command")
    assert len(ml.jobs) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"color": "red"}, "properties.color: unknown"),
        ({"command": None}, "properties.command"),
        ({"limits": {"jobLimitsType": "Command", "timeout": "3600"}}, "ISO 8601"),
        ({"resources": {"instanceCount": 3, "shmSize": "1g"}}, "exceeds the maximum of 2"),
        ({"resources": {"instanceCount": "2"}}, "instanceCount: got '2'"),
        ({"environmentId": "other"}, "environment other was not found"),
        ({"computeId": "other"}, "compute other was not found"),
        ({"distribution": {}}, "several nodes need a distribution"),
        ({"environmentVariables": {"A": 1}}, "environmentVariables.A"),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused(ml: FakeAzureMl, change: dict[str, Any], says: str) -> None:
    body = a_job()
    status, told = put("mine", {"properties": {**body["properties"], **change}})
    assert status == 400
    assert says in told["error"]["message"]
    assert put("-mine", body)[0] == 400
    assert ml.jobs == {}


def test_a_log_needs_its_signed_url_and_an_environment_version_never_changes(ml: FakeAzureMl) -> None:
    put("mine", a_job())
    ml.jobs["mine"].files["user_logs/std_log.txt"] = bytearray(b"said\n")
    history = f"https://eastus2.api.azureml.ms/history/v1.0{WORKSPACE}/runs/mine/details"
    url = ask("GET", history, audience="https://ml.azure.com")[1]["logFiles"]["user_logs/std_log.txt"]
    assert SAS in url
    assert ask("GET", url.replace(SAS, "x"), audience=None)[0] == 403
    (environment,) = ml.environments
    assert ask("PUT", f"{ARM}{environment}", {"properties": {"image": "other"}})[0] == 409


def test_faults_come_at_the_call_that_was_scripted(ml: FakeAzureMl) -> None:
    import requests

    url = f"{ARM}{WORKSPACE}/jobs/none"
    ml.fail("get_job", THROTTLED, call=2)
    assert [ask("GET", url)[0] for _ in range(3)] == [404, 429, 404]
    body = a_job()
    ml.fail("put_job", LOST)
    with pytest.raises(requests.ConnectionError):
        put("mine", body)
    assert (list(ml.jobs), ml.count("get_job")) == (["mine"], 3)


def test_the_proxy_refuses_other_hosts_and_entra_requires_the_pipelines_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    with signed_in(tmp_path, monkeypatch, {}) as (entra, proxy):
        with pytest.raises(requests.ConnectionError):
            requests.get("https://example.com", timeout=10)
        assert proxy.refused == ["example.com:443"]
        token = "https://login.microsoftonline.com/t/oauth2/v2.0/token"
        form = {"client_id": "c", "scope": "https://a/.default", "client_assertion": SUBJECT_TOKEN}
        assert requests.post(token, data=form, timeout=10).status_code == 200
        assert requests.post(token, data={**form, "client_assertion": "x"}, timeout=10).status_code == 401
        assert entra.count("token") == 2
