"""AWS's GpuPool: resources for each service and capacity, in an update and in a preview with unknown outputs."""

from __future__ import annotations

import base64
import email
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gpuyard.components import catalogue
from gpuyard.components.aws.images import PARAMETERS
from gpuyard.components.aws.launch_template import boot_of, user_data
from gpuyard.components.aws.machine_group import launcher_commands
from gpuyard.components.catalogue.services import SERVICES
from tests.helpers.aws_sample_pools import BATCH, BLOCK, ENVIRONMENT, GROUP, LATER, PLACEMENT, RESERVED, TAGS, TEMPLATE, VMS, kinds, pool


@pytest.mark.parametrize("preview", [False, True])
def test_resources_of_a_batch_pool(record: Any, preview: bool) -> None:
    recorded = record(pool(BATCH), preview=preview)
    assert kinds(recorded) == [
        "ComputeEnvironment pool-environment",
        "GpuPool pool",
        "Identity pool-node",
        "Identity pool-scheduler",
        "LaunchTemplate pool-template",
        "PlacementGroup pool-placement",
        "Schedule pool-end",
    ]
    assert recorded.warnings == []


@pytest.mark.parametrize("preview", [False, True])
def test_resources_of_a_vms_pool(record: Any, preview: bool) -> None:
    recorded = record(pool(VMS), preview=preview)
    assert kinds(recorded) == [
        "EncryptionKey pool-log-key",
        "GpuPool pool",
        "Group pool-machines",
        "Identity pool-node",
        "LaunchTemplate pool-template",
        "LogGroup pool-logs",
        "PlacementGroup pool-placement",
        "Schedule pool-end",
    ]


@pytest.mark.parametrize("preview", [False, True])
def test_a_sagemaker_pool_has_no_resources(record: Any, preview: bool) -> None:
    made: list[Any] = []
    recorded = record(lambda: made.append(pool({**BATCH, "service": "sagemaker", "zone": None, "capacity": "spot"})()), preview=preview)
    assert kinds(recorded) == ["GpuPool pool"]
    assert recorded.lookups == []
    assert (made[0].node_role_name, made[0].compute_environment_arn, len(made[0].subnet_ids)) == (None, None, 2)
    assert recorded.outputs("GpuPool") == {"id": "pool", "machine": "p5en.48xlarge", "nodes": 4}


def test_the_launch_template_equals_the_reviewed_one(record: Any) -> None:
    inputs = record(pool(BATCH)).inputs(TEMPLATE, "pool-template")
    script = base64.b64decode(inputs.pop("userData")).decode()
    part: Any = email.message_from_string(script).get_payload(0)
    assert "GPUS=8\nFAST_NICS=16\nNIC_DRIVER=efa\n" in part.get_payload()
    card = {"deviceIndex": 0, "interfaceType": "efa", "deleteOnTermination": "true", "securityGroups": ["sg-nodes"]}
    machine_tags = {"owner": "me@acme.io", "team": "nlp", "stack": "gpuyard/local", "Name": "pool-node"}
    assert inputs == {
        "blockDeviceMappings": [
            {
                "deviceName": "/dev/xvda",
                "ebs": {
                    "deleteOnTermination": "true",
                    "encrypted": "true",
                    "iops": 3000,
                    "throughput": 500,
                    "volumeSize": 200,
                    "volumeType": "gp3",
                },
            }
        ],
        "instanceInitiatedShutdownBehavior": "terminate",
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpPutResponseHopLimit": 1,
            "httpTokens": "required",
            "instanceMetadataTags": "disabled",
        },
        "networkInterfaces": [
            {**card, "networkCardIndex": 0, "associatePublicIpAddress": "false"},
            *({**card, "networkCardIndex": index} for index in range(1, 16)),
        ],
        "tagSpecifications": [{"resourceType": kind, "tags": machine_tags} for kind in ("instance", "volume", "network-interface")],
        "tags": {**TAGS, "stack": "gpuyard/local", "Name": "pool-template"},
        "updateDefaultVersion": True,
    }


def test_the_compute_environment_can_change_in_place(record: Any) -> None:
    inputs = record(pool({**BATCH, "min_nodes": 1})).inputs(ENVIRONMENT, "pool-environment")
    profile = inputs["computeResources"].pop("instanceRole")
    assert profile.startswith("arn:aws:iam")
    assert inputs == {
        "type": "MANAGED",
        "state": "ENABLED",
        "computeResources": {
            "type": "EC2",
            "allocationStrategy": "BEST_FIT_PROGRESSIVE",
            "minVcpus": 192,
            "maxVcpus": 768,
            "instanceTypes": ["p5en.48xlarge"],
            "subnets": ["subnet-us-east-1a"],
            "ec2Configurations": [{"imageType": "ECS_AL2023_NVIDIA", "imageIdOverride": "ami-0123456789abcdef0"}],
            "launchTemplate": {"launchTemplateId": "pool-template-id", "version": "1"},
            "placementGroup": "pool-placement",
        },
        "updatePolicy": {"jobExecutionTimeoutMinutes": 360, "terminateJobsOnUpdate": False},
        "tags": {**TAGS, "stack": "gpuyard/local", "Name": "pool-environment"},
    }


def test_security_groups_are_on_the_environment_or_on_the_interfaces(record: Any) -> None:
    """Batch refuses both together: see tests/fakes/pulumi_provider/aws_refusals.py."""
    recorded = record(pool({**BATCH, "machine": "g6.xlarge"}))
    assert recorded.inputs(ENVIRONMENT, "pool-environment")["computeResources"]["securityGroupIds"] == ["sg-nodes"]
    assert "networkInterfaces" not in recorded.inputs(TEMPLATE, "pool-template")


def test_the_auto_scaling_group_does_not_wait_for_machines(record: Any) -> None:
    recorded = record(pool({**VMS, "min_nodes": 2}))
    inputs = recorded.inputs(GROUP, "pool-machines")
    tags = {tag["key"]: (tag["value"], tag["propagateAtLaunch"]) for tag in inputs.pop("tags")}
    assert tags == {
        "owner": ("me@acme.io", True),
        "expires": (LATER, True),
        "team": ("nlp", True),
        "stack": ("gpuyard/local", True),
        "Name": ("pool-machines", False),
    }
    assert inputs == {
        "minSize": 2,
        "maxSize": 4,
        "vpcZoneIdentifiers": ["subnet-us-east-1a"],
        "waitForCapacityTimeout": "0",
        "suspendedProcesses": ["AZRebalance"],
        "healthCheckType": "EC2",
        "launchTemplate": {"id": "pool-template-id", "version": "1"},
    }
    template = recorded.inputs(TEMPLATE, "pool-template")
    assert (template["imageId"], template["instanceType"]) == ("ami-0123456789abcdef0", "p5en.48xlarge")
    assert template["placement"] == {"groupName": "pool-placement"}
    assert template["iamInstanceProfile"]["arn"].startswith("arn:aws:iam")
    assert '"awslogs-group": "pool-logs"' in base64.b64decode(template["userData"]).decode()
    assert recorded.inputs("aws:cloudwatch/logGroup:LogGroup", "pool-logs")["retentionInDays"] == 365
    assert set(recorded.outputs("GpuPool")) == {"id", "machine", "nodes", "scale", "hostfile", "torchrun"}


def test_spot_capacity(record: Any) -> None:
    batch = record(pool({**BATCH, "max_nodes": 1, "capacity": "spot"})).inputs(ENVIRONMENT, "pool-environment")["computeResources"]
    assert (batch["type"], batch["allocationStrategy"]) == (
        "SPOT",
        "SPOT_CAPACITY_OPTIMIZED",
    )  # updated in place by the provider
    recorded = record(pool({**VMS, "capacity": "spot"}))
    inputs = recorded.inputs(GROUP, "pool-machines")
    assert "launchTemplate" not in inputs
    assert inputs["mixedInstancesPolicy"] == {
        "instancesDistribution": {
            "onDemandBaseCapacity": 0,
            "onDemandPercentageAboveBaseCapacity": 0,
            "spotAllocationStrategy": "price-capacity-optimized",
        },
        "launchTemplate": {
            "launchTemplateSpecification": {"launchTemplateId": "pool-template-id", "version": "1"},
            "overrides": [{"instanceType": "p5en.48xlarge"}],
        },
    }
    assert "instanceMarketOptions" not in recorded.inputs(TEMPLATE, "pool-template")  # EC2 refuses spot options in both places


@pytest.mark.parametrize("service", ["batch", "vms"])
def test_reservations_and_blocks_use_only_their_machines(record: Any, service: str) -> None:
    for capacity, market in ((RESERVED, None), (BLOCK, {"marketType": "capacity-block"})):
        recorded = record(pool({**BATCH, "service": service, "capacity": capacity}))
        template = recorded.inputs(TEMPLATE, "pool-template")
        assert template["capacityReservationSpecification"] == {
            "capacityReservationPreference": "capacity-reservations-only",
            "capacityReservationTarget": {"capacityReservationId": "cr-0123456789abcdef0"},
        }
        assert template.get("instanceMarketOptions") == market
        assert "placement" not in template
        assert not [line for line in kinds(recorded) if line.startswith("PlacementGroup")]


@pytest.mark.parametrize("service", ["batch", "vms"])
def test_a_reservation_uses_its_own_placement_group(record: Any, service: str) -> None:
    recorded = record(pool({**BATCH, "service": service, "capacity": {**RESERVED, "placement_group": "block-7"}}))
    assert "PlacementGroup pool-placement" not in kinds(recorded)
    if service == "batch":
        assert recorded.inputs(ENVIRONMENT, "pool-environment")["computeResources"]["placementGroup"] == "block-7"
    else:
        assert recorded.inputs(TEMPLATE, "pool-template")["placement"] == {"groupName": "block-7"}


@pytest.mark.parametrize(("machine", "nodes", "placed"), [("p5en.48xlarge", 2, True), ("p5en.48xlarge", 1, True), ("g5.xlarge", 4, False)])
def test_machines_with_efa_have_a_placement_group(record: Any, machine: str, nodes: int, placed: bool) -> None:
    recorded = record(pool({**BATCH, "machine": machine, "max_nodes": nodes}))
    assert ("PlacementGroup pool-placement" in kinds(recorded)) == placed
    if placed:
        assert recorded.inputs(PLACEMENT, "pool-placement")["strategy"] == "cluster"


def test_the_root_device_is_that_of_the_pools_image(record: Any) -> None:
    own = {**VMS, "image": "ami-0fedcba9876543210"}
    recorded = record(pool(own))
    template = recorded.inputs(TEMPLATE, "pool-template")
    assert (template["imageId"], template["blockDeviceMappings"][0]["deviceName"]) == ("ami-0fedcba9876543210", "/dev/sda1")
    assert "aws:ssm/getParameter:getParameter" not in recorded.lookups


def test_every_machine_is_possible_in_each_of_its_services(record: Any) -> None:
    rows = catalogue.table("aws").machines.values()
    specs = [{**BATCH, "machine": row.name, "service": service} for row in rows for service in row.services]
    recorded = record(lambda: [pool(spec, name=f"p{index}")() for index, spec in enumerate(specs)])
    assert len([line for line in kinds(recorded) if line.startswith("GpuPool")]) == len(specs) > 50


@pytest.mark.parametrize("preview", [False, True])
def test_every_capacity_is_possible_in_each_of_its_services(record: Any, preview: bool) -> None:
    """The table of services lists the capacities of each service."""
    capacities: dict[str, Any] = {"on_demand": "on_demand", "spot": "spot", "reservation": RESERVED, "capacity_block": BLOCK}
    modes = {name: row.multi_node_modes for name, row in SERVICES["aws"].items()}
    specs = [{**BATCH, "service": service, "capacity": capacities[mode]} for service, known in modes.items() for mode in known]
    recorded = record(lambda: [pool(spec, name=f"p{index}")() for index, spec in enumerate(specs)], preview=preview)
    assert len([line for line in kinds(recorded) if line.startswith("GpuPool")]) == len(specs) == 9


def test_user_data_fits_every_machine() -> None:
    for row in catalogue.table("aws").machines.values():
        assert len(base64.b64decode(user_data(boot_of(row, "vms", "g" * 512)))) < 12_000
    assert boot_of(catalogue.machine("g5.xlarge"), "batch").fast_nics == 0


def test_every_service_with_machines_has_images() -> None:
    assert {name for name, row in SERVICES["aws"].items() if row.machine_image} == set(PARAMETERS)


def test_launcher_commands_run(tmp_path: Path) -> None:
    lines = launcher_commands("pool-machines-1a2b", "us-east-1", 4, 8)
    assert lines.scale.endswith("--auto-scaling-group-name pool-machines-1a2b --desired-capacity 4")
    for name, body in {"aws": r"printf '10.0.0.9\t10.0.0.12\n10.0.0.1\n'", "torchrun": 'printf "%s\\n" "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    shell = f"{lines.hostfile}\n{lines.torchrun}"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", shell], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert (tmp_path / "hosts").read_text().splitlines() == ["10.0.0.1", "10.0.0.12", "10.0.0.9"]
    assert done.stdout.splitlines() == [
        "--nnodes=3",
        "--nproc-per-node=8",
        "--rdzv-backend=c10d",
        "--rdzv-id=pool-machines-1a2b",
        "--rdzv-endpoint=10.0.0.1:29400",
        "train.py",
    ]
