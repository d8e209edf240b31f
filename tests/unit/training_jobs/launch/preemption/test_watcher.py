"""The clouds' notices: what each answer means, and a watcher against a stand-in of each metadata service."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gpuyard.training_jobs.launch.node_exit import EndedError
from gpuyard.training_jobs.launch.preemption import watcher as watch
from gpuyard.training_jobs.launch.preemption.metadata import CLOUDS, Heard
from gpuyard.training_jobs.launch.preemption.stop_request import Notice
from gpuyard.training_jobs.launch.preemption.watcher import Watcher, watcher
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
        ("aws", SPOT, '{"action": "stop", "time": "2020-09-13T13:28:10Z"}', "interruption", 120),  # this clock is an hour slow
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
def test_what_the_services_say(cloud: str, path: str, body: str, kind: str | None, deadline_s: float | None) -> None:
    heard = CLOUDS[cloud].endpoints[path](body.encode(), NOW, "node_1")
    assert (heard.kind, heard.deadline_s) == (kind, deadline_s) if heard else kind is None


def test_of_several_events_the_soonest_counts_and_a_freeze_last() -> None:
    freeze, late = ("1", "Freeze", "Scheduled", "2020-09-13T12:27:00Z"), ("2", "Reboot", "Scheduled", "2020-09-13T12:41:40Z")
    soon = ("3", "Preempt", "Scheduled", "2020-09-13T12:27:10Z")
    parse = CLOUDS["azure"].endpoints[AZURE]
    assert parse(_events(freeze, late, soon), NOW, "node_1") == Heard("interruption", 30.0, "Preempt not before 2020-09-13T12:27:10Z", "3")
    reboot, pause = parse(_events(freeze, late), NOW, ""), parse(_events(freeze), NOW, "")
    assert reboot is not None
    assert pause is not None
    assert (reboot.event, pause.kind) == ("2", "freeze")
    assert parse(_events(soon), NOW, "node_10") is None  # another machine's


def _watcher(service: FakeMetadata, notice: Notice, act_on_warnings: bool = False) -> Watcher:
    return Watcher(CLOUDS[service.cloud], service.url, act_on_warnings, notice, 3)


@pytest.mark.parametrize(
    ("cloud", "path", "given_s"),
    [
        ("aws", SPOT, 100), ("aws", SCHEDULED, 600), ("gcp", f"{GCP}/preempted", 30), ("gcp", f"{GCP}/maintenance-event", 600),
        ("azure", AZURE, 40),
    ],
)  # fmt: skip
def test_a_notice_asks_for_a_stop_with_its_own_seconds(
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
        notice = Notice(tmp_path / "stop", grace_s=20)
        looks = _watcher(service, notice)
        assert looks.look() == CLOUDS[cloud].every_s
        assert not notice.asked
        assert capsys.readouterr().out == ""  # 404 and empty answers are the normal case
        service.says[path] = bodies[path].encode()
        looks.look()
        looks.look()
        assert notice.given_s == pytest.approx(given_s, abs=2.5)
        assert float((tmp_path / "stop").read_text()) == pytest.approx(time.monotonic() + given_s, abs=2.5)
        out = capsys.readouterr().out
        assert out.startswith("gpuyard: node 3: ")
        assert service.url + path in out
        assert "s are given" in out
        assert out.count("asking the job to stop") == 1
        notice.ask()
        assert notice.given_s <= 20  # SIGTERM after all: less time than the notice gave


def test_imds_is_asked_with_one_token_until_that_expires(tmp_path: Path) -> None:
    with metadata("aws") as service:
        looks = _watcher(service, Notice(tmp_path / "stop", 30))
        looks.look()
        looks.look()
        assert (service.made_tokens, service.asked[0], len(service.asked)) == (1, "PUT /latest/api/token", 7)
        service.tokens.clear()
        service.says[SPOT] = b'{"action": "terminate", "time": "2020-01-01T00:00:00Z"}'
        assert looks.look() == 5.0
        assert (service.made_tokens, looks._notice.asked) == (2, True)
        service.tokens.clear()
        service.failing.extend([401, 500])  # the token expired, and no new one is to be had
        assert looks.look() == 10.0


_BODIES = {"malformed": b"{<html>", "another shape": b'{"said": []}', "not a list": b"7"}
_TROUBLES = ["429", "503", "500", "slow", "gone"]


@pytest.mark.parametrize(
    ("cloud", "trouble"),  # gcp's answers are words: an unknown one is no notice
    [*((cloud, trouble) for cloud in CLOUDS for trouble in _TROUBLES), *((cloud, body) for cloud in ("aws", "azure") for body in _BODIES)],
)
def test_a_service_in_trouble_ends_nothing_and_is_asked_again(
    cloud: str, trouble: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_TIMEOUT_S", 0.05)
    with metadata(cloud) as service:
        notice = Notice(tmp_path / "stop", 30)
        looks = _watcher(service, notice)
        held = dict(service.says)
        if trouble.isdigit():
            service.failing.extend([int(trouble)] * 30)
        elif trouble in _BODIES:
            service.says.update(dict.fromkeys((SPOT, SCHEDULED, AZURE), _BODIES[trouble]))
        elif trouble == "slow":
            service.delay_s = 0.15
        else:
            looks._url = "http://127.0.0.1:9"
        row = CLOUDS[cloud]
        assert [looks.look() for _ in range(2)] == [row.every_s * 2, min(row.every_s * 4, row.lead_s / 4)]
        assert not notice.asked
        assert capsys.readouterr().out.count("for now, asking on") == 1
        service.failing.clear()
        service.says, service.delay_s, looks._url = held, 0.0, service.url
        monkeypatch.setattr(watch, "_TIMEOUT_S", 2.0)
        assert looks.look() == row.every_s
        assert "answers again" in capsys.readouterr().out


def test_a_warning_is_said_and_obeyed_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with metadata("aws") as service:
        service.says[REBALANCE] = b'{"noticeTime": "2020-09-13T12:26:10Z"}'
        said, obeyed = Notice(tmp_path / "said", 30), Notice(tmp_path / "obeyed", 30)
        _watcher(service, said).look()
        assert "rebalance: a raised risk of interruption" in (out := capsys.readouterr().out)
        assert out.endswith("the job goes on\n")
        _watcher(service, obeyed, act_on_warnings=True).look()
        assert said.given_s == math.inf
        assert obeyed.given_s == pytest.approx(120, abs=1)


def test_what_is_days_away_is_said_now_and_obeyed_in_its_last_hour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with metadata("aws") as service:
        service.says[SCHEDULED] = _maintenance("active", _in(200_000)[5:]).encode()
        notice = Notice(tmp_path / "stop", 30)
        looks = _watcher(service, notice)
        looks.look()
        looks.look()
        assert not notice.asked
        assert capsys.readouterr().out.count("the job goes on") == 1
        later = time.time() + 197_000
        monkeypatch.setattr("gpuyard.training_jobs.launch.preemption.watcher.time.time", lambda: later)
        looks.look()
        assert notice.asked


def test_azure_hears_only_its_own_events_and_lets_the_machine_go_at_the_end(tmp_path: Path) -> None:
    with metadata("azure") as service:
        notice = Notice(tmp_path / "stop", 30)
        looks = _watcher(service, notice)
        service.says[AZURE] = _events(("9", "Preempt", "Scheduled", _in(40))).replace(b"node_1", b"node_2")
        looks.look()
        assert not notice.asked
        service.says[AZURE] = _events(("7", "Preempt", "Scheduled", _in(40)), ("8", "Freeze", "Scheduled", _in(20)))
        looks.look()
        assert (notice.asked, service.acknowledged) == (True, [])  # while the workers save, every second is theirs
        looks.close()
        assert service.acknowledged == ["7"]
        assert service.asked.count(f"GET {AZURE_NAME}") == 1


def test_a_machine_that_cannot_learn_its_name_takes_every_event_as_its_own(tmp_path: Path) -> None:
    with metadata("azure") as service:
        del service.says[AZURE_NAME]
        service.says[AZURE] = _events(("9", "Preempt", "Scheduled", _in(40)))
        notice = Notice(tmp_path / "stop", 30)
        _watcher(service, notice).look()
        assert notice.asked


def test_the_thread_looks_at_once_and_survives_its_own_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with metadata("gcp") as service:
        service.says[f"{GCP}/preempted"] = b"TRUE"
        notice = Notice(tmp_path / "stop", 30)
        looks = Watcher(replace(CLOUDS["gcp"], lead_s=0.04), service.url, False, notice, 0)
        faults = iter([RuntimeError("a fault of ours")])
        real = looks._get

        def get(path: str) -> bytes | None:
            for fault in faults:
                raise fault
            return real(path)

        monkeypatch.setattr(looks, "_get", get)
        looks.start()
        for _ in range(300):
            if notice.asked:
                break
            time.sleep(0.01)
        looks.close()
        assert notice.asked
        assert "a fault of ours" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"GPUYARD_NOTICE": "oracle"}, "got 'oracle', allowed: aws, gcp, azure, off"),
        ({"GPUYARD_NOTICE_WARNINGS": "panic"}, "got 'panic', allowed: log, stop"),
        ({"GPUYARD_METADATA_URL": "http://127.0.0.1:1"}, "is for tests"),  # set by an image, not by who starts launch
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "http://10.0.0.7"}, "is for tests"),
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "http://127.0.0.1@evil.example"}, "is for tests"),
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "http://localhost:1"}, "is for tests"),
        ({"GPUYARD_NOTICE": "aws", "GPUYARD_METADATA_URL": "file:///etc"}, "is for tests"),
    ],
)
def test_a_wrong_setting_is_refused(env: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(EndedError, match=says) as refused:
        watcher(env, "off", Notice(tmp_path / "stop", 30), 0)
    assert refused.value.code == 64


def test_the_environment_chooses_the_cloud(tmp_path: Path) -> None:
    notice = Notice(tmp_path / "stop", 30)
    assert watcher({}, "off", notice, 0) is None
    assert watcher({"GPUYARD_NOTICE": "off"}, "aws", notice, 0) is None
    chosen = watcher({}, "gcp", notice, 0)
    assert chosen is not None
    assert chosen._url == "http://169.254.169.254"
    overridden = watcher({"GPUYARD_NOTICE": "azure", "GPUYARD_METADATA_URL": "http://127.0.0.1:81"}, "gcp", notice, 0)
    assert overridden is not None
    assert (overridden._url, overridden.lead_s) == ("http://127.0.0.1:81", 30)
