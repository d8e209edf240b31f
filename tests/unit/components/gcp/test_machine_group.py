"""Instance groups: resize requests, expiry, and the commands for other launchers."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gpuyard.components.gcp.machine_group import launcher_commands
from tests.helpers.gcp_sample_pools import CAPACITIES, END, MACHINES, RESERVED, VMS, of_type, pool, spec_of
from tests.helpers.gcp_sample_yard import FLEX, GROUP, SCHEDULE

LABELS = {"gpuyard_stack": "gpuyard-dev", "name": "pool-node"}
REQUEST = "gcp:compute/resizeRequest:ResizeRequest"


def group(record: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = record(pool({**VMS, **more})).inputs(GROUP, "pool-machines")
    return found


def test_a_group_neither_waits_for_machines_nor_replaces_them(record: Any) -> None:
    recorded = record(pool({**VMS, "machine": "g2-standard-48", "min_nodes": 2}))
    found = recorded.inputs(GROUP, "pool-machines")
    assert found.pop("versions")[0]["instanceTemplate"].partition("?")[0].endswith("/instanceTemplates/pool-template")
    assert found == {
        "baseInstanceName": "pool-machines",
        "zone": "us-central1-a",
        "targetSize": 2,
        "updatePolicy": {"type": "OPPORTUNISTIC", "minimalAction": "REPLACE", "maxSurgeFixed": 0, "maxUnavailableFixed": 1},
        "instanceLifecyclePolicy": {"defaultActionOnFailure": "REPAIR"},
        "waitForInstances": False,
    }
    made = recorded.one(GROUP, "pool-machines")
    assert list(made.ignoreChanges) == ["targetSize"]  # launchers resize the group, and `up` does not undo that
    assert list(made.replaceOnChanges) == ["targetSizePolicies"]


@pytest.mark.parametrize("mode", CAPACITIES)
@pytest.mark.parametrize("machine", ["g2-standard-48", "a3-megagpu-8g", "a3-ultragpu-8g", "a4-highgpu-8g"])
def test_only_reservation_bound_machines_use_bulk(record: Any, mode: str, machine: str) -> None:
    """Google refuses BULK for other machines and with resize requests: about-bulk-mode."""
    if mode not in (MACHINES[machine].modes or CAPACITIES):
        pytest.skip("Google does not sell it")
    found = group(record, machine=machine, capacity=CAPACITIES[mode])
    bulk = mode == "reservation" and machine in ("a3-ultragpu-8g", "a4-highgpu-8g")
    assert found.get("targetSizePolicies") == ([{"mode": "BULK"}] if bulk else None)
    assert found["instanceLifecyclePolicy"] == {"defaultActionOnFailure": "DO_NOTHING" if mode == "flex_start" else "REPAIR"}


def test_nvlink_and_flex_start_machines_are_made_together(record: Any) -> None:
    policy = {"workloadPolicy": "projects/acme-ml/regions/us-central1/resourcePolicies/pool-placement"}
    assert group(record, machine="a4x-highgpu-4g", capacity=RESERVED)["resourcePolicies"] == policy
    assert group(record, machine="a3-ultragpu-8g", capacity=FLEX)["resourcePolicies"] == policy
    assert "resourcePolicies" not in group(record, machine="a3-ultragpu-8g", capacity="spot")


def test_flex_start_is_one_request_for_all(record: Any) -> None:
    recorded = record(pool({**VMS, "capacity": FLEX, "min_nodes": 2}))
    assert recorded.inputs(GROUP, "pool-machines")["targetSize"] == 0
    assert recorded.inputs(REQUEST, "pool-request") == {
        "zone": "us-central1-a",
        "instanceGroupManager": "pool-machines",
        "resizeBy": 2,
        "requestedRunDuration": {"seconds": "86400"},
    }
    assert of_type(record(pool({**VMS, "capacity": FLEX})), REQUEST) == {}
    assert of_type(recorded, SCHEDULE) == {}  # the requested run duration ends it


def test_expiry_is_one_call_by_an_account_with_one_role(record: Any) -> None:
    recorded = record(pool(VMS))
    found = recorded.inputs(SCHEDULE, "pool-end")
    target = found.pop("httpTarget")
    assert found == {
        "region": "us-central1",
        "description": f"to zero nodes: the yard expires on {END}",
        "schedule": f"0 0 {END.day} {END.month} *",
        "timeZone": "Etc/UTC",
        "retryConfig": {"retryCount": 5},
    }
    assert base64.b64decode(target.pop("body")) == b"{}"
    assert target == {
        "httpMethod": "POST",
        "uri": "https://compute.googleapis.com/compute/v1/projects/acme-ml/zones/us-central1-a/instanceGroupManagers/pool-machines/resize?size=0",
        "headers": {"Content-Type": "application/json"},
        "oauthToken": {  # Google APIs accept OAuth tokens, not OIDC tokens
            "serviceAccountEmail": recorded.inputs("gcp:serviceaccount/account:Account", "pool-end-account")["accountId"]
            + "@acme-ml.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
        },
    }
    role = recorded.inputs("gcp:projects/iAMCustomRole:IAMCustomRole", "pool-end-resize-pools-role")
    assert role["permissions"] == ["compute.instanceGroupManagers.get", "compute.instanceGroupManagers.update"]


def test_commands_for_other_launchers(tmp_path: Path) -> None:
    lines = launcher_commands("pool-machines-1a2b", "acme-ml", "us-central1-a", spec_of(VMS), MACHINES["a3-ultragpu-8g"].gpus, LABELS)
    assert lines.scale == (
        "gcloud compute instance-groups managed --project acme-ml resize pool-machines-1a2b --zone us-central1-a --size 4"
    )
    arguments = tmp_path / "arguments"
    for name, body in {
        "gcloud": f'printf "%s\\n" "$@" > {arguments}; printf "10.0.0.9\\n10.0.0.12\\n10.0.0.1\\n"',
        "torchrun": 'printf "%s\\n" "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shell = f"{lines.hostfile}\n{lines.torchrun}"
    done = subprocess.run(["bash", "-ec", shell], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert (tmp_path / "hosts").read_text().splitlines() == ["10.0.0.1", "10.0.0.12", "10.0.0.9"]
    # selected by the template's labels, because Google chooses the names of machines
    assert "--filter=status=RUNNING AND labels.gpuyard_stack=gpuyard-dev AND labels.name=pool-node" in arguments.read_text().splitlines()
    assert done.stdout.splitlines() == [
        "--nnodes=3",
        "--nproc-per-node=8",
        "--rdzv-backend=c10d",
        "--rdzv-id=pool-machines-1a2b",
        "--rdzv-endpoint=10.0.0.1:29400",
        "train.py",
    ]


def test_flex_start_machines_are_requested_together(tmp_path: Path) -> None:
    lines = launcher_commands("g", "p", "us-central1-a", spec_of({**VMS, "capacity": FLEX}), 8, LABELS)
    (tmp_path / "gcloud").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "gcloud").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = subprocess.run(["bash", "-ec", lines.scale], env=env, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[:6] == ["compute", "instance-groups", "managed", "--project", "p", "resize-requests"]
    assert {"--resize-by=4", "--requested-run-duration=24h"} <= set(words)


def test_commands_name_the_gpus_of_the_machines(record: Any) -> None:
    found = record(pool(VMS)).outputs("GpuPool")
    assert "labels.gpuyard_stack=gpuyard-local AND labels.name=pool-node" in found["hostfile"]
    assert "resize pool-machines --zone us-central1-a --size 4" in found["scale"]
