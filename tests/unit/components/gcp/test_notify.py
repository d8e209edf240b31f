"""Google Cloud's Notify: which log lines and metrics send a mail, and to whom."""

from __future__ import annotations

import re
from typing import Any

import pulumi
import pytest

from gpuyard.components.gcp import Notify
from gpuyard.components.gcp.notify import job_filter, run_extractor
from gpuyard.training_jobs.launch.node_description import end_line
from tests.helpers.gcp_sample_yard import TEMPLATE, VERTEX, VMS, ZONE, adopted, declare

MAIL = "ml@acme.io"
POLICY, CHANNEL = "gcp:monitoring/alertPolicy:AlertPolicy", "gcp:monitoring/notificationChannel:NotificationChannel"
RUN = "gs://runs-1a2b/gpuyard/runs/llm-3f9a"


def program(on: list[str], pools: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return a program with a Notify for the sample yard, with a separate `vms` pool beside the job service's pools."""

    def run() -> None:
        from gpuyard.components.gcp import GpuPool

        jobs = declare(submitters=(), pools=pools)
        spec = {"machine": "g2-standard-48", "zone": ZONE, "max_nodes": 2, "service": "vms", **more}
        watched = GpuPool("watched", spec, network=adopted("other"), tags={"owner": MAIL, "expires": "never"})
        Notify("notify", email=[MAIL, "ops@acme.io"], on=on, jobs=jobs, pools=[watched])

    return run


def policies(recorded: Any) -> dict[str, dict[str, Any]]:
    names = [each.name for each in recorded.resources.values() if each.type == POLICY]
    return {name.removeprefix("notify-"): recorded.inputs(POLICY, name) for name in names if name.startswith("notify-")}


def condition(policy: dict[str, Any]) -> dict[str, Any]:
    [found] = policy["conditions"]
    known: dict[str, Any] = found
    return known


def matches(query: str, line: str) -> bool:
    """Evaluate the clause of a job filter that reads the line."""
    found = re.fullmatch(r'resource\.type="ml_job" AND jsonPayload\.message=~"(.*)"', query)
    assert found
    return re.search(found[1], line) is not None


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (end_line(RUN, 1), "failed"),
        (end_line(RUN, 69), "failed"),
        (end_line(RUN, 75), "stopped"),
        (end_line(RUN, 0), None),
        (end_line("gs://runs-9z9z/gpuyard/runs/llm-3f9a", 1), None),
        ("my script failed with exit code 1", None),
    ],
)
def test_the_last_line_of_a_node_decides_about_a_mail(line: str, event: str | None) -> None:
    assert [each for each in ("failed", "stopped") if matches(job_filter("gs://runs-1a2b", each), f"{line}\n")] == (
        [event] if event else []
    )


def test_the_mail_names_the_run() -> None:
    pattern = re.fullmatch(r'REGEXP_EXTRACT\(jsonPayload\.message, "(.*)"\)', run_extractor()["run"])
    assert pattern
    found = re.search(pattern[1], end_line(RUN, 1))
    assert found
    assert found[1] == "llm-3f9a"


@pytest.mark.parametrize("preview", [False, True])
def test_each_event_has_a_policy_that_reaches_every_channel(record: Any, preview: bool) -> None:
    recorded = record(program(["failed", "stopped", "blocked", "idle"]), preview=preview)
    assert set(policies(recorded)) == {"failed", "stopped", "blocked", "watched-idle"}
    if not preview:
        assert {len(policy["notificationChannels"]) for policy in policies(recorded).values()} == {3}
    kinds = [recorded.inputs(CHANNEL, each.name)["type"] for each in recorded.resources.values() if each.type == CHANNEL]
    assert sorted(kinds) == ["email", "email", "pubsub"]


def test_a_stop_is_found_by_the_workflow_of_the_pool(record: Any) -> None:
    found = condition(policies(record(program(["blocked"])))["blocked"])["conditionMatchedLog"]
    assert found["filter"].endswith('AND severity=ERROR AND (resource.labels.workflow_id="watched-replacements")')


def test_idle_machines_are_found_by_their_labels(record: Any) -> None:
    recorded = record(program(["idle"]))
    found = condition(policies(recorded)["watched-idle"])["conditionThreshold"]
    labels = dict(re.findall(r'metadata\.user_labels\.(\w+)="([^"]*)"', found["filter"]))
    template = recorded.inputs(TEMPLATE, "watched-template")["labels"]
    assert labels == {key: template[key] for key in labels}
    assert set(labels) == {"gpuyard_stack", "name"}


def test_a_yard_without_jobs_or_replacements_has_no_such_mail(record: Any) -> None:
    flex = {"capacity": {"mode": "flex_start", "max_hours": 24}}
    assert set(policies(record(program(["failed", "stopped", "blocked"], {"lab": VMS}, **flex)))) == set()
    assert set(policies(record(program(["failed", "blocked"], {"l4": VERTEX}, **flex)))) == {"failed"}


def test_wrong_arguments_are_all_reported(record: Any) -> None:
    def wrong() -> None:
        Notify("notify", email=["nobody"], on=["sometimes"], jobs=declare())

    with pytest.raises(pulumi.RunError, match=r"2 problems.*\n.*email.*\n.*on"):
        record(wrong)
