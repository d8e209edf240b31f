"""Preemption notices: how each answer is parsed, and the watcher against a fake of each metadata service."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch.node_exit import NodeExitError
from gpuyard.training_jobs.launch.preemption import watcher as watcher_module
from gpuyard.training_jobs.launch.preemption.metadata import METADATA_SERVICES, Notice
from gpuyard.training_jobs.launch.preemption.stop_request import StopRequest
from gpuyard.training_jobs.launch.preemption.watcher import MetadataWatcher, make_watcher
from tests.fakes.metadata_services import AWS, AZURE, AZURE_NAME, GCP, FakeMetadata, metadata

NOW = 1_600_000_000.0  # 2020-09-13T12:26:40Z
REBALANCE, SPOT, SCHEDULED = f"{AWS}/events/recommendations/rebalance", f"{AWS}/spot/instance-action", f"{AWS}/events/maintenance/scheduled"


def _maintenance(state: str, not_before: str) -> str:
    event = {"NotBefore": not_before, "Code": "system-reboot", "EventId": "instance-event-0d", "NotAfter": not_before, "State": state}
    return json.dumps([event])


def _events(*events: tuple[str, str, str, str]) -> bytes:
    keys = ("EventId", "EventType", "EventStatus", "NotBefore")
    listed = [{**dict(zip(keys, event, strict=True)), "Resources": ["node_1"], "EventSource": "Platform"} for event in events]
    return json.dumps({"DocumentIncarnation": 2, "Events": listed}).encode()


def _in(seconds: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + seconds))


@pytest.mark.parametrize(
    ("cloud", "path", "body", "kind", "deadline_s"),
    [
        ("aws", SPOT, '{"action": "terminate", "time": "2020-09-13T12:28:10Z"}', "interruption", 90),
        ("aws", SPOT, '{"action": "hibernate", "time": "2020-09-13T12:26:00Z"}', "interruption", 0),
        ("aws", SPOT, '{"action": "stop", "time": "2020-09-13T13:28:10Z"}', "interruption", 120),  # this machine's clock is an hour slow
        ("aws", REBALANCE, '{"noticeTime": "2020-09-13T12:26:10Z"}', "rebalance", None),
        ("aws", SCHEDULED, _maintenance("active", "13 Sep 2020 12:36:40 GMT"), "maintenance", 600),
        ("aws", SCHEDULED, _maintenance("completed", "13 Sep 2020 12:36:40 GMT"), None, None),
        ("aws", SCHEDULED, "[]", None, None),
        ("gcp", f"{GCP}/preempted", "FALSE", None, None),
        ("gcp", f"{GCP}/preempted", "TRUE\n", "interruption", 30),
        ("gcp", f"{GCP}/maintenance-event", "NONE", None, None),
        ("gcp", f"{GCP}/maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE", "migration", 60),
        ("gcp", f"{GCP}/maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE", "maintenance", 3600),
        ("azure", AZURE, _events().decode(), None, None),
        ("azure", AZURE, _events(("1", "Preempt", "Scheduled", "Sun, 13 Sep 2020 12:27:20 GMT")).decode(), "interruption", 40),
        ("azure", AZURE, _events(("1", "Redeploy", "Scheduled", "2020-09-13T12:41:40Z")).decode(), "maintenance", 900),
        ("azure", AZURE, _events(("1", "Reboot", "Started", "")).decode(), "maintenance", None),
        ("azure", AZURE, _events(("1", "Unheard", "Scheduled", "")).decode(), None, None),
    ],
)
def test_each_answer_is_parsed(cloud: str, path: str, body: str, kind: str | None, deadline_s: float | None) -> None:
    notice = METADATA_SERVICES[cloud].endpoints[path](body.encode(), NOW, "node_1")
    assert (notice.kind, notice.deadline_s) == (kind, deadline_s) if notice else kind is None


def test_the_soonest_event_counts_and_a_freeze_only_alone() -> None:
    freeze, late = ("1", "Freeze", "Scheduled", "2020-09-13T12:27:00Z"), ("2", "Reboot", "Scheduled", "2020-09-13T12:41:40Z")
    soon = ("3", "Preempt", "Scheduled", "2020-09-13T12:27:10Z")
    parse = METADATA_SERVICES["azure"].endpoints[AZURE]
    assert parse(_events(freeze, late, soon), NOW, "node_1") == Notice("interruption", 30.0, "Preempt not before 2020-09-13T12:27:10Z", "3")
    reboot, pause = parse(_events(freeze, late), NOW, ""), parse(_events(freeze), NOW, "")
    assert reboot is not None
    assert pause is not None
    assert (reboot.event, pause.kind) == ("2", "freeze")
    assert parse(_events(soon), NOW, "node_10") is None  # another machine's event


def _watcher(service: FakeMetadata, stop_request: StopRequest, act_on_warnings: bool = False) -> MetadataWatcher:
    return MetadataWatcher(METADATA_SERVICES[service.cloud], service.url, act_on_warnings, stop_request, 3)


@pytest.mark.parametrize(
    ("cloud", "path", "given_s"),
    [
        ("aws", SPOT, 100), ("aws", SCHEDULED, 600), ("gcp", f"{GCP}/preempted", 30), ("gcp", f"{GCP}/maintenance-event", 600),
        ("azure", AZURE, 40),
    ],
)  # fmt: skip
def test_a_notice_requests_a_stop_within_its_seconds(
    cloud: str, path: str, given_s: float, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    bodies = {
        SPOT: json.dumps({"action": "terminate", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 100))}),
        SCHEDULED: _maintenance("active", _in(610)[5:]),
        f"{GCP}/preempted": "TRUE",
        f"{GCP}/maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE",
        AZURE: _events(("7", "Preempt", "Scheduled", _in(40))).decode(),
    }
    with metadata(cloud) as service:
        stop_request = StopRequest(tmp_path / "stop", grace_s=20)
        watcher = _watcher(service, stop_request)
        assert watcher.poll() == METADATA_SERVICES[cloud].poll_every_s
        assert not stop_request.requested
        assert capsys.readouterr().out == ""  # 404 and empty answers are the normal case
        service.responses[path] = bodies[path].encode()
        watcher.poll()
        watcher.poll()
        assert stop_request.seconds_left == pytest.approx(given_s, abs=2.5)
        assert float((tmp_path / "stop").read_text()) == pytest.approx(time.monotonic() + given_s, abs=2.5)
        out = capsys.readouterr().out
        assert out.startswith("gpuyard: node 3: ")
        assert service.url + path in out
        assert "s given" in out
        assert out.count("requesting a stop") == 1
        stop_request.request()
        assert stop_request.seconds_left <= 20  # SIGTERM after the notice: less time is left than the notice gave


def test_one_imds_token_is_used_until_it_expires(tmp_path: Path) -> None:
    with metadata("aws") as service:
        watcher = _watcher(service, StopRequest(tmp_path / "stop", 30))
        watcher.poll()
        watcher.poll()
        assert (service.made_tokens, service.requests[0], len(service.requests)) == (1, "PUT /latest/api/token", 7)
        service.tokens.clear()
        service.responses[SPOT] = b'{"action": "terminate", "time": "2020-01-01T00:00:00Z"}'
        assert watcher.poll() == 5.0
        assert (service.made_tokens, watcher._stop_request.requested) == (2, True)
        service.tokens.clear()
        service.failing.extend([401, 500])  # the token expired, and the service gives no new one
        assert watcher.poll() == 10.0


_BODIES = {"malformed": b"{<html>", "another shape": b'{"said": []}', "not a list": b"7"}
_TROUBLES = ["429", "503", "500", "slow", "gone"]


@pytest.mark.parametrize(
    ("cloud", "trouble"),  # not for GCP: its answers are plain words, and an unknown word is not a notice
    [
        *((cloud, trouble) for cloud in METADATA_SERVICES for trouble in _TROUBLES),
        *((cloud, body) for cloud in ("aws", "azure") for body in _BODIES),
    ],
)
def test_a_failing_service_is_polled_again_and_requests_no_stop(
    cloud: str, trouble: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "_TIMEOUT_S", 0.05)
    with metadata(cloud) as service:
        stop_request = StopRequest(tmp_path / "stop", 30)
        watcher = _watcher(service, stop_request)
        healthy = dict(service.responses)
        if trouble.isdigit():
            service.failing.extend([int(trouble)] * 30)
        elif trouble in _BODIES:
            service.responses.update(dict.fromkeys((SPOT, SCHEDULED, AZURE), _BODIES[trouble]))
        elif trouble == "slow":
            service.delay_s = 0.15
        else:
            watcher._url = "http://127.0.0.1:9"
        row = METADATA_SERVICES[cloud]
        assert [watcher.poll() for _ in range(2)] == [row.poll_every_s * 2, min(row.poll_every_s * 4, row.notice_s / 4)]
        assert not stop_request.requested
        assert capsys.readouterr().out.count(", retrying: ") == 1
        service.failing.clear()
        service.responses, service.delay_s, watcher._url = healthy, 0.0, service.url
        monkeypatch.setattr(watcher_module, "_TIMEOUT_S", 2.0)
        assert watcher.poll() == row.poll_every_s
        assert "answers again" in capsys.readouterr().out


def test_a_warning_is_printed_and_obeyed_only_when_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with metadata("aws") as service:
        service.responses[REBALANCE] = b'{"noticeTime": "2020-09-13T12:26:10Z"}'
        printed, obeyed = StopRequest(tmp_path / "printed", 30), StopRequest(tmp_path / "obeyed", 30)
        _watcher(service, printed).poll()
        assert "rebalance: raised risk of interruption" in (out := capsys.readouterr().out)
        assert out.endswith("the job continues\n")
        _watcher(service, obeyed, act_on_warnings=True).poll()
        assert printed.seconds_left == math.inf
        assert obeyed.seconds_left == pytest.approx(120, abs=1)


def test_a_distant_event_is_printed_now_and_obeyed_in_its_last_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with metadata("aws") as service:
        service.responses[SCHEDULED] = _maintenance("active", _in(200_000)[5:]).encode()
        stop_request = StopRequest(tmp_path / "stop", 30)
        watcher = _watcher(service, stop_request)
        watcher.poll()
        watcher.poll()
        assert not stop_request.requested
        assert capsys.readouterr().out.count("the job continues") == 1
        later = time.time() + 197_000
        monkeypatch.setattr("gpuyard.training_jobs.launch.preemption.watcher.time.time", lambda: later)
        watcher.poll()
        assert stop_request.requested


def test_azure_obeys_only_its_own_events_and_acknowledges_them_at_the_end(tmp_path: Path) -> None:
    with metadata("azure") as service:
        stop_request = StopRequest(tmp_path / "stop", 30)
        watcher = _watcher(service, stop_request)
        service.responses[AZURE] = _events(("9", "Preempt", "Scheduled", _in(40))).replace(b"node_1", b"node_2")
        watcher.poll()
        assert not stop_request.requested
        service.responses[AZURE] = _events(("7", "Preempt", "Scheduled", _in(40)), ("8", "Freeze", "Scheduled", _in(20)))
        watcher.poll()
        assert (stop_request.requested, service.acknowledged) == (True, [])  # not while the workers save
        watcher.close()
        assert service.acknowledged == ["7"]
        assert service.requests.count(f"GET {AZURE_NAME}") == 1


def test_a_machine_without_a_name_obeys_every_event(tmp_path: Path) -> None:
    with metadata("azure") as service:
        del service.responses[AZURE_NAME]
        service.responses[AZURE] = _events(("9", "Preempt", "Scheduled", _in(40)))
        stop_request = StopRequest(tmp_path / "stop", 30)
        _watcher(service, stop_request).poll()
        assert stop_request.requested


def test_the_thread_polls_at_once_and_survives_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with metadata("gcp") as service:
        service.responses[f"{GCP}/preempted"] = b"TRUE"
        stop_request = StopRequest(tmp_path / "stop", 30)
        watcher = MetadataWatcher(replace(METADATA_SERVICES["gcp"], notice_s=0.04), service.url, False, stop_request, 0)
        faults = iter([RuntimeError("a fault of ours")])
        real = watcher._get

        def get(path: str) -> bytes | None:
            for fault in faults:
                raise fault
            return real(path)

        monkeypatch.setattr(watcher, "_get", get)
        watcher.start()
        for _ in range(300):
            if stop_request.requested:
                break
            time.sleep(0.01)
        watcher.close()
        assert stop_request.requested
        assert "a fault of ours" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"GPUYARD_NOTICE": "oracle"}, "got 'oracle', allowed: aws, gcp, azure, off"),
        ({"GPUYARD_NOTICE_WARNINGS": "panic"}, "got 'panic', allowed: log, stop"),
        ({"GPUYARD_METADATA_URL": "http://127.0.0.1:1"}, "only for tests"),  # as an image would set it
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "http://10.0.0.7"}, "only for tests"),
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "http://127.0.0.1@evil.example"}, "only for tests"),
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "http://localhost:1"}, "only for tests"),
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "file:///etc"}, "only for tests"),
    ],
)
def test_a_wrong_setting_is_refused(env: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(NodeExitError, match=message) as refused:
        make_watcher(env, "off", StopRequest(tmp_path / "stop", 30), 0)
    assert refused.value.code == 64


def test_the_environment_chooses_the_cloud(tmp_path: Path) -> None:
    stop_request = StopRequest(tmp_path / "stop", 30)
    assert make_watcher({}, "off", stop_request, 0) is None
    assert make_watcher({"GPUYARD_NOTICE": "off"}, "aws", stop_request, 0) is None
    chosen = make_watcher({}, "gcp", stop_request, 0)
    assert chosen is not None
    assert chosen._url == "http://169.254.169.254"
    overridden = make_watcher({"GPUYARD_NOTICE": "azure", "GPUYARD_METADATA_URL": "http://127.0.0.1:81"}, "gcp", stop_request, 0)
    assert overridden is not None
    assert (overridden._url, overridden.notice_s) == ("http://127.0.0.1:81", 30)
