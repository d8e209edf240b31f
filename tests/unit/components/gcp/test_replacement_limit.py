"""A pool on Google Cloud whose machines are replaced too often: its resources, and a drill of the workflow."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

import pytest

from gpuyard.components.gcp.replacement_limit import SHUTDOWN, workflow
from tests.helpers.gcp_sample_pools import VERTEX, VMS, pool
from tests.helpers.gcp_sample_yard import FLEX
from tests.helpers.google_workflows import run_workflow

NOW = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC).timestamp()
WORKFLOW, CALLS, ALERT = "gcp:workflows/workflow:Workflow", "gcp:cloudscheduler/job:Job", "gcp:monitoring/alertPolicy:AlertPolicy"
ROLE = "gcp:projects/iAMCustomRole:IAMCustomRole"
PLACE = "https://compute.googleapis.com/compute/v1/projects/acme-ml/zones/us-central1-a"


class Compute:
    """Compute Engine as the workflow sees it: an instance group, and the operations of its zone."""

    def __init__(self) -> None:
        self.repairs, self.operations, self.reports = "REPAIR", list[dict[str, Any]](), list[str]()
        self.machines = [f"lab-machines-x{number}yz" for number in (0, 1, 3, 8, 9)]

    def shut_down(self, machine: str, minutes_ago: float, kind: str = SHUTDOWN) -> None:
        at = datetime.datetime.fromtimestamp(NOW - 60 * minutes_ago, datetime.timezone(-datetime.timedelta(hours=8)))
        self.operations.append({"operationType": kind, "insertTime": at.isoformat(timespec="milliseconds"), "targetLink": _link(machine)})

    def call(self, name: str, args: Mapping[str, Any]) -> Any:
        """Answer a call. A request that Compute Engine would refuse fails."""
        if name == "sys.log":
            assert args["severity"] == "ERROR"
            self.reports.append(args["text"])
            return None
        assert args["auth"] == {"type": "OAuth2"}
        if args["url"] == f"{PLACE}/operations":
            assert (name, args["query"]["orderBy"], args["query"]["maxResults"]) == ("http.get", "creationTimestamp desc", 500)
            found = [each for each in self.operations if args["query"]["filter"] == f'operationType="{each["operationType"]}"']
            return {"body": {"items": found} if found else {}}  # an empty list is left out
        if args["url"] == f"{PLACE}/instanceGroupManagers/lab-machines-1a2b/listManagedInstances":
            assert name == "http.post"
            found = [{"instance": _link(machine)} for machine in self.machines]
            return {"body": {"managedInstances": found} if found else {}}
        assert args["url"] == f"{PLACE}/instanceGroupManagers/lab-machines-1a2b"
        if name == "http.patch":
            self.repairs = args["body"]["instanceLifecyclePolicy"]["defaultActionOnFailure"]
        return {"body": {"instanceLifecyclePolicy": {"defaultActionOnFailure": self.repairs}}}

    def check(self) -> None:
        run_workflow(workflow("acme-ml", "us-central1-a", "lab-machines-1a2b", 2, "lab has stopped"), self.call, NOW)


def _link(machine: str) -> str:
    return f"https://www.googleapis.com/compute/v1/projects/acme-ml/zones/us-central1-a/instances/{machine}"


def test_a_group_without_machines_is_left_alone() -> None:
    google = Compute()
    google.machines = []
    google.shut_down("lab-machines-x0yz", 5)
    google.check()
    assert google.repairs == "REPAIR"


def test_a_pool_stops_when_more_machines_shut_down_than_its_limit() -> None:
    google = Compute()
    google.check()
    for number in range(2):
        google.shut_down(f"lab-machines-x{number}yz", 10)
    google.shut_down("lab-machines-x9yz", 61)  # more than an hour ago
    google.shut_down("lab-machines-x8yz", 5, "compute.instances.preempted")
    google.shut_down("other-machines-x8yz", 5)
    for number in range(3):
        google.shut_down(f"lab-machines-z{number}zz", 5)  # of another stack with a pool `lab`
    google.check()
    assert (google.repairs, google.reports) == ("REPAIR", [])
    google.shut_down("lab-machines-x3yz", 1)
    google.check()
    assert (google.repairs, google.reports) == ("DO_NOTHING", ["lab has stopped"])
    google.check()
    assert google.reports == ["lab has stopped"], "a stopped pool is reported once"
    google.repairs = "REPAIR"
    google.check()
    assert google.repairs == "DO_NOTHING", "a pool that was started within the hour stops again"


@pytest.mark.parametrize("preview", [False, True])
def test_each_pool_of_machines_that_are_replaced_is_watched(record: Any, preview: bool) -> None:
    for spec, watched in ((VMS, 1), (VERTEX, 0), ({**VMS, "capacity": FLEX}, 0)):
        kinds = [each.type for each in record(pool(spec), preview=preview).resources.values()]
        assert [kinds.count(kind) for kind in (WORKFLOW, ALERT)] == [watched, watched]


def test_the_schedule_starts_the_pools_workflow_with_the_pools_limit(record: Any) -> None:
    recorded = record(pool({**VMS, "max_replacements_per_hour": 5}))
    made = recorded.inputs(WORKFLOW, "pool-replacements")
    steps = {name: body for step in json.loads(made["sourceContents"])["main"]["steps"] for name, body in step.items()}
    assert steps["end_if_few"]["switch"][0]["condition"] == "${broken <= 5}"
    assert steps["report"]["args"]["text"].startswith("pool pool has stopped: more than 5 of its machines")
    assert made["deletionProtection"] is False
    call = recorded.inputs(CALLS, "pool-replacements")["httpTarget"]
    path = "projects/acme-ml/locations/us-central1/workflows/pool-replacements"
    assert call["uri"] == f"https://workflowexecutions.googleapis.com/v1/{path}/executions"
    assert call["oauthToken"]["serviceAccountEmail"] == made["serviceAccount"]
    [condition] = recorded.inputs(ALERT, "pool-replacements")["conditions"]
    assert 'resource.labels.workflow_id="pool-replacements"' in condition["conditionMatchedLog"]["filter"]


def test_the_workflows_account_has_four_permissions(record: Any) -> None:
    [role] = [
        each.object["permissions"]
        for each in record(pool(VMS)).resources.values()
        if each.type == ROLE and each.name.endswith("limit-replacements-role")
    ]
    assert role == [
        "compute.instanceGroupManagers.get",
        "compute.instanceGroupManagers.update",
        "compute.zoneOperations.list",
        "workflows.executions.create",
    ]
