"""Broken machines of a `vms` pool on Azure: the health probe's answers, the report, and a drill of the Logic App that counts."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gpuyard.components.azure import GpuPool, Network
from gpuyard.components.azure.machine_health import PATH, PORT, health_server, may_be_replaced
from gpuyard.components.azure.replacement_limit import counting_workflow, health_script
from gpuyard.components.azure.roles import REPAIRS_STOPPER
from tests.fakes.azure.logic_app import FakeAzure, LogicApp
from tests.fakes.boot_commands import HEALTHY, FakeMachine
from tests.helpers.azure_sample_yard import TAGS, VMS, token

WORKFLOW, ALERT = token("logic:Workflow"), token("monitor:ActivityLogAlert")
BROKEN = dataclasses.replace(HEALTHY, containers="optional")


def app(limit: int = 2) -> tuple[FakeAzure, LogicApp]:
    azure = FakeAzure()
    return azure, LogicApp(counting_workflow(azure.scale_set, limit), azure)


def test_the_pool_stops_when_more_machines_are_broken_than_its_limit() -> None:
    azure, lab = app(limit=2)
    assert [lab.call("m1"), lab.call("m2")] == [{"replace": True}, {"replace": True}]
    assert azure.suspended == 0
    assert lab.call("m3") == {"replace": False}
    assert azure.suspended == 1
    assert lab.call("m4") == {"replace": False}, "a pool that a user resumed within the hour stops again"
    assert azure.suspended == 2


def test_a_repeated_report_of_one_machine_counts_once() -> None:
    azure, lab = app(limit=1)
    assert [lab.call("m1") for _ in range(3)] == [{"replace": True}] * 3
    assert azure.suspended == 0


def test_reports_older_than_an_hour_do_not_count() -> None:
    azure, lab = app(limit=1)
    lab.call("m1")
    azure.now += datetime.timedelta(minutes=61)
    assert lab.call("m2") == {"replace": True}


def test_a_report_counts_although_the_run_history_does_not_show_it_yet() -> None:
    azure, lab = app(limit=1)
    lab.call("m1")
    assert lab.call("m2", tracking_id="m1") == {"replace": False}
    assert azure.suspended == 1


@pytest.mark.parametrize("missing", REPAIRS_STOPPER.actions)
def test_no_machine_is_replaced_without_a_count(missing: str) -> None:
    azure, lab = app(limit=1)
    azure.granted.remove(missing)
    lab.call("m1")
    assert lab.call("m2") is None
    assert azure.suspended == 0


class Machine:
    """The services that a machine calls: its metadata service, which knows one identity, and the pool's Logic App."""

    def __init__(self, lab: LogicApp) -> None:
        self.lab, self.seen, self.failures = lab, list[dict[str, str]](), 0
        machine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer as the metadata service."""
                url = urlsplit(self.path)
                known = self.headers["Metadata"] == "true" and (
                    url.path.endswith("vmId") or parse_qs(url.query)["client_id"] == ["lab-client"]
                )
                machine.answer(self, 200 if known else 400, "m1" if url.path.endswith("vmId") else json.dumps({"access_token": "t"}))

            def do_POST(self) -> None:
                """Answer as the Logic App, after the failures that the test asks for."""
                report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                machine.seen.append({**report, "caller": self.headers["Authorization"], "id": self.headers["x-ms-client-tracking-id"]})
                machine.failures -= 1
                if machine.failures >= 0:
                    return machine.answer(self, 502, "")
                return machine.answer(self, 200, json.dumps(machine.lab.call(report["machine"], report["reason"])))

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, status: int, text: str) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    def report(self, client_id: str = "lab-client") -> bool:
        return may_be_replaced(f"{self.url}/report", client_id, "7 GPUs", metadata=f"{self.url}/metadata", pause_s=0)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(app(limit=1)[1])
    threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_machine_reports_with_its_identity(machine: Machine) -> None:
    assert machine.report()
    assert machine.seen == [{"machine": "m1", "reason": "7 GPUs", "caller": "Bearer t", "id": "m1"}]


def test_a_machine_beyond_the_limit_is_not_replaced(machine: Machine) -> None:
    machine.lab.call("another")
    assert not machine.report()


def test_a_report_is_repeated_and_three_failures_keep_the_machine(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.failures = 2
    assert machine.report()
    machine.failures = 3
    assert not machine.report()
    assert "gpuyard: report 3 of 3 of this machine failed: HTTP Error 502" in capsys.readouterr().out
    assert not machine.report(client_id="unknown")


def test_the_health_probe_gets_unhealthy_only_for_a_machine_that_may_be_replaced(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    server = health_server(broken, port=0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def state() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{PATH}") as answer:
            return str(json.load(answer)["ApplicationHealthState"])

    assert state() == "Healthy"
    broken.touch()
    assert state() == "Unhealthy"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("replace", "said"), [(0, "Azure replaces this machine"), (1, "this machine stays, and costs money")])
def test_a_broken_machine_reports_itself_instead_of_a_shutdown(tmp_path: Path, replace: int, said: str) -> None:
    machine = FakeMachine(tmp_path)
    (machine.root / "etc/systemd/system").mkdir(parents=True)
    (machine.bin / "python3").unlink()
    machine.command("python3", f"exit {replace}")
    done = machine.boot(BROKEN, before=health_script("https://logic/report", "lab-client"), FAKEGPUS="7")
    assert done.returncode == 1
    assert said in done.stdout
    assert "shutdown -h now" not in machine.calls
    reason = "nvidia-smi shows 7 GPUs, this type of machine has 8"
    assert f"python3 /usr/local/lib/gpuyard-health.py report https://logic/report lab-client {reason}" in machine.calls
    assert (machine.root / "etc/gpuyard-broken").exists() == (replace == 0)


def test_the_answers_start_before_anything_that_can_fail_and_again_after_a_reboot(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    (machine.root / "etc/systemd/system").mkdir(parents=True)
    assert machine.boot(BROKEN, before=health_script("https://logic/report", "c")).returncode == 0
    unit = (machine.root / "etc/systemd/system/gpuyard-health.service").read_text().replace(str(machine.root), "")
    assert "python3 /usr/local/lib/gpuyard-health.py answer /etc/gpuyard-broken" in unit
    assert machine.calls[:3] == [
        "systemctl daemon-reload",
        "systemctl enable gpuyard-health.service",
        "systemctl start --no-block gpuyard-health.service",
    ]
    assert not (machine.root / "etc/gpuyard-broken").exists()


def pool(**spec: Any) -> Any:
    return lambda: GpuPool("lab", {**VMS, **spec}, network=Network("net", {"zones": ["1"]}, tags=TAGS), tags=TAGS)


def test_the_scale_set_probes_its_machines_and_replaces_broken_ones(record: Any) -> None:
    made = record(pool()).inputs(token("compute:VirtualMachineScaleSet"), "lab-machines")
    assert made["automaticRepairsPolicy"] == {"enabled": True, "gracePeriod": "PT10M", "repairAction": "Replace"}
    [extension] = made["virtualMachineProfile"]["extensionProfile"]["extensions"]
    assert (extension["type"], extension["typeHandlerVersion"]) == ("ApplicationHealthLinux", "2.0")
    assert (extension["settings"]["port"], extension["settings"]["requestPath"]) == (PORT, PATH)
    script = base64.b64decode(made["virtualMachineProfile"]["osProfile"]["customData"]).decode()
    where = "https://logic.azure.com/workflows/lab-replacements/triggers/report/paths/invoke?api-version=2016-10-01"
    assert f"REPORT_URL='{where}'\nCLIENT_ID=lab-node-identity-client\n" in script
    assert script.index("answer_health_probes\n") < script.index("set -uo pipefail")


def test_only_the_pools_own_machines_can_report(record: Any) -> None:
    policies = record(pool()).inputs(WORKFLOW, "lab-replacements")["accessControl"]["triggers"]["openAuthenticationPolicies"]["policies"]
    claims = {claim["name"]: claim["value"] for claim in policies["machines"]["claims"]}
    issuer, audience = "https://sts.windows.net/tenant/", "https://management.azure.com/"
    assert claims == {"iss": issuer, "aud": audience, "oid": "lab-node-identity-principal"}


def test_the_workflow_has_the_pools_limit_and_scale_set(record: Any) -> None:
    recorded = record(pool(max_replacements_per_hour=5))
    definition = recorded.inputs(WORKFLOW, "lab-replacements")["definition"]
    decision = definition["actions"]["Too_many"]
    assert decision["expression"]["and"][0]["greater"][1] == 5
    scale_set = recorded.inputs(token("compute:VirtualMachineScaleSet"), "lab-machines")["vmScaleSetName"]
    assert decision["actions"]["Stop"]["inputs"]["uri"].endswith(
        f"/resourceGroups/net-group/providers/Microsoft.Compute/virtualMachineScaleSets/{scale_set}/setOrchestrationServiceState"
    )


def test_an_alert_fires_when_the_repairs_are_suspended(record: Any) -> None:
    alert = record(pool(max_replacements_per_hour=5)).inputs(ALERT, "lab-repairs")
    conditions = {each["field"]: each["equals"] for each in alert["condition"]["allOf"]}
    assert conditions["operationName"] == REPAIRS_STOPPER.actions[0]
    assert alert["description"].startswith("pool lab has stopped: more than 5 of its machines")
    assert "az vmss set-orchestration-service-state" in alert["description"]


def test_the_workflow_may_only_count_and_stop(record: Any) -> None:
    recorded = record(pool())
    role = recorded.inputs(token("authorization:RoleDefinition"), "lab-stops-repairs")
    assert [each["actions"] for each in role["permissions"]] == [list(REPAIRS_STOPPER.actions)]
    assert role["assignableScopes"] == ["/subscriptions/sub/resourceGroups/net-group"]
    assigned = [recorded.inputs(token("authorization:RoleAssignment"), f"lab-may-{what}-replacements") for what in ("count", "stop")]
    scale_set = recorded.inputs(token("compute:VirtualMachineScaleSet"), "lab-machines")["vmScaleSetName"]
    assert [each["scope"].rpartition("/")[2] for each in assigned] == ["lab-replacements", scale_set]
    assert {each["principalId"] for each in assigned} == {"lab-replacements-principal"}
    assert {each["roleDefinitionId"].rpartition("/")[2] for each in assigned} == {role["roleDefinitionId"]}
