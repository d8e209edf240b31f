"""The stock program on AWS: every kind of pool in one yard, pinned images, commands for other launchers."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest
import yaml

from gpuyard.stacks.program import declare
from gpuyard.stacks.settings import load
from gpuyard.training_jobs.errors import UsageError

YARD = """
aws:region: us-east-1
gpuyard:cloud: aws
gpuyard:owner: me@acme.io
gpuyard:expires: "2999-03-31"
gpuyard:network: {zones: [us-east-1a, us-east-1b]}
gpuyard:buckets: {runs: {jobs: write}}
gpuyard:pools:
  l4: {machine: g6.12xlarge, zone: us-east-1a, max_nodes: 2, service: batch}
  lab: {machine: p5en.48xlarge, zone: us-east-1b, max_nodes: 2, service: vms, capacity: spot}
  theirs: {machine: p5.48xlarge, max_nodes: 4, service: sagemaker, capacity: spot}
gpuyard:pins: {machine_images: {l4: ami-0fedcba9876543210}}
"""


def program(**changes: Any) -> Any:
    config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in {**yaml.safe_load(YARD), **changes}.items()}
    return lambda: declare(load(config, stack="dev"))


@pytest.mark.parametrize("preview", [False, True])
def test_a_yard_with_every_service(record: Any, preview: bool) -> None:
    recorded = record(program(), preview=preview)
    assert recorded.warnings == []
    environment = recorded.inputs("aws:batch/computeEnvironment:ComputeEnvironment", "l4-environment")
    assert environment["computeResources"]["ec2Configurations"][0]["imageIdOverride"] == "ami-0fedcba9876543210"
    assert recorded.lookups.count("aws:ssm/getParameter:getParameter") == 1  # lab is not pinned
    exports = set(recorded.exports) | recorded.unknown
    assert exports >= {"yard", "job_targets", "launchers"}


def test_the_submitter_role_is_exported_with_submitters(record: Any) -> None:
    assert "submitter_role" not in record(program()).exports
    named = record(program(**{"gpuyard:submitters": ["repo:acme/nlp-train:ref:refs/heads/main"]})).exports["submitter_role"]
    assert named == "arn:aws:iam:us-east-1:111122223333:train-submitter-role"


def test_the_commands_for_other_launchers_are_exported(record: Any) -> None:
    lines = record(program()).exports["launchers"]["lab"]
    assert set(lines) == {"scale", "hostfile", "torchrun", "reach"}
    assert "Values=lab-machines " in lines["hostfile"]
    assert "--nproc-per-node=8" in lines["torchrun"]


def test_without_vms_pools_no_launcher_commands_are_exported(record: Any) -> None:
    pools = {name: pool for name, pool in yaml.safe_load(YARD)["gpuyard:pools"].items() if name != "lab"}
    assert "launchers" not in record(program(**{"gpuyard:pools": pools})).exports


def test_all_problems_with_aws_are_reported_at_once_and_nothing_is_created(record: Any) -> None:
    pools = {
        "a": {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 1, "service": "batch", "image": "ubuntu"},
        "b": {
            "machine": "g6.12xlarge",
            "zone": "us-east-1a",
            "max_nodes": 1,
            "service": "vms",
            "capacity": {"mode": "reservation", "reservation": "mine"},
        },
    }
    wrong = {
        "gpuyard:owner": "nobody",
        "gpuyard:network": {"cidr": "10.0.0.0/24", "zones": ["us-east-1a", "us-east-1-bos-1a"], "egress": "none"},
        "gpuyard:buckets": {"runs": {"jobs": "write"}, "data": {"existing": "s3://acme", "jobs": "read"}},
        "gpuyard:pools": pools,
        "gpuyard:pins": {},
        "gpuyard:submitters": ["*"],
        "gpuyard:budget": {"usd_per_month": 1, "alert_at_percent": [50, 50]},
        "gpuyard:tags": {"stack": "x"},
    }
    with pytest.raises(pulumi.RunError) as caught:
        record(program(**wrong))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the settings of stack local are not valid, nothing was created"
    expected = [
        "network.cidr: wrong network size, got '10.0.0.0/24'",
        "network.zones: not an availability zone, got 'us-east-1-bos-1a'",
        "buckets.data.existing: not the name of a bucket, got 's3://acme'",
        "pools.a.service: nodes in network net cannot reach AWS services, because its egress is none, got 'batch', allowed: sagemaker",
        "pools.a.image: not the id of an AMI, got 'ubuntu'",
        "pools.b.service: nodes in network net cannot reach AWS services, because its egress is none, got 'vms'",
        "pools.b.capacity.reservation: not the id of a capacity reservation, got 'mine'",
        "submitters.0: not a person, group or pipeline, got '*'",
        "tags: reserved key, got 'stack'",
        "owner: not a mail address, got 'nobody'",
        "budget.alert_at_percent: wrong percentages, got [50, 50]",
    ]
    assert len(lines) - 1 == len(expected), lines
    for line, start in zip(lines[1:], expected, strict=True):
        assert line.startswith(f"  - gpuyard:{start}"), line


def test_shares_divide_the_queues_between_teams(record: Any) -> None:
    policy, queue = "aws:batch/schedulingPolicy:SchedulingPolicy", "aws:batch/jobQueue:JobQueue"
    recorded = record(program(**{"gpuyard:shares": {"nlp": 2, "vision": 1}}))
    assert recorded.inputs(policy, "train-shares")["fairSharePolicy"]["shareDistributions"] == [
        {"shareIdentifier": "nlp", "weightFactor": 0.5},
        {"shareIdentifier": "vision", "weightFactor": 1},
    ]
    assert recorded.inputs(queue, "train-l4-queue")["schedulingPolicyArn"].endswith("train-shares")
    assert recorded.exports["job_targets"]["l4"]["teams"] == ["nlp", "vision"]
    plain = record(program())
    assert "schedulingPolicyArn" not in plain.inputs(queue, "train-l4-queue")
    assert plain.exports["job_targets"]["l4"]["teams"] == []
    [made] = [each for each in plain.resources.values() if each.type == queue]
    assert list(made.replaceOnChanges) == ["schedulingPolicyArn"], "Batch cannot change it in place"


@pytest.mark.parametrize(
    ("shares", "message"),
    [({"a-team": 1}, "letters and digits"), ({"nlp": 0}, "gpuyard:shares.nlp"), ({"nlp": 2.5}, "gpuyard:shares.nlp")],
)
def test_wrong_shares_are_reported(shares: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        program(**{"gpuyard:shares": shares})()


def test_shares_need_a_pool_with_a_queue() -> None:
    pools = {"theirs": {"machine": "p5.48xlarge", "max_nodes": 4, "service": "sagemaker", "capacity": "spot"}}
    with pytest.raises(UsageError, match="gpuyard:shares: no pool can share its machines"):
        program(**{"gpuyard:shares": {"nlp": 1}, "gpuyard:pools": pools, "gpuyard:pins": {}})()


def test_mail_and_an_image_repository_are_keys_of_the_stack_file(record: Any) -> None:
    keys = {"gpuyard:notify": {"email": ["ml@acme.io"]}, "gpuyard:image_repository": {"on_destroy": "delete"}}
    recorded = record(program(**keys))
    assert "image_repository" in recorded.exports
    names = {request.name for request in recorded.resources.values()}
    assert {"notify-topic", "notify-batch-failed", "images-repository"} <= names
    with pytest.raises(UsageError, match="not available on this cloud yet"):
        load({**{key: json.dumps(value) for key, value in keys.items()}, "gpuyard:cloud": "gcp"}, stack="dev")
