"""The stand-in `aws` provider with the real engine refuses what AWS would: the other engine tests rely on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.pulumi_provider import aws_rules, project

pytestmark = pytest.mark.engine

PROJECT = "name: small\nruntime: python\nmain: program\nconfig:\n  aws:region: {value: us-east-1}\n"
PROGRAM = """
import os
import pulumi
import pulumi_aws as aws

size = pulumi.Config().get("cidr") or "10.0.0.0/16"
vpc = aws.ec2.Vpc("net", cidr_block=size, tags={"hand": pulumi.Config().get("hand") or "left"})
subnet = aws.ec2.Subnet("net-a", vpc_id=vpc.id, cidr_block="10.0.0.0/18", availability_zone="us-east-1a")
group = aws.ec2.SecurityGroup("nodes", vpc_id=vpc.id, description="nodes")
template = aws.ec2.LaunchTemplate(
    "pool",
    image_id=aws.ssm.get_parameter_output(name="/image").value,
    network_interfaces=[{"network_card_index": 0, "security_groups": [group.id]}],
)
bucket = aws.s3.Bucket("runs", opts=pulumi.ResourceOptions(retain_on_delete=True))
word = pulumi.Config().require_secret("word")
aws.ssm.Parameter("word", type="SecureString", value=word)
pulumi.export("template", pulumi.Output.concat(template.id, ":", template.latest_version.apply(str)))
pulumi.export("bucket", bucket.bucket)
pulumi.export("account", aws.get_caller_identity_output().account_id)
"""
WRONG = """
import pulumi_aws as aws

aws.ec2.LaunchTemplate("pool", block_device_mappings=[{"ebs": {"encrypted": True}}])
"""


@pytest.fixture
def small(tmp_path: Path, engine_environment: dict[str, str]) -> project.Project:
    made = project.make(tmp_path, engine_environment, {"Pulumi.yaml": PROJECT, "program/__main__.py": PROGRAM})
    made.pulumi("stack", "init", "test")
    made.pulumi("config", "set", "--secret", "word", "correct horse battery")
    return made


def test_a_life_cycle_with_the_stand_in(small: project.Project) -> None:
    small.up()
    assert len(small.resources()) == 6
    outputs = small.json("stack", "output")
    assert outputs["account"] == aws_rules.ACCOUNT
    assert outputs["bucket"].startswith("runs-")
    assert outputs["template"].startswith("lt-")
    assert outputs["template"].endswith(":1")
    state = small.pulumi("stack", "export")
    assert "correct horse battery" not in state + "".join(small.output)
    assert "ciphertext" in state

    small.pulumi("config", "set", "hand", "right")
    assert operations(small) == {"net": "update"}
    small.pulumi("config", "set", "cidr", "10.1.0.0/16")
    assert operations(small) == {"net": "replace", "net-a": "replace", "nodes": "replace", "pool": "update"}
    small.up()
    assert len(small.resources()) == 6

    small.pulumi("destroy", "--yes", "--skip-preview")
    assert [urn.rpartition("::")[2] for urn in small.resources()] == ["runs"]
    assert "resources" not in json.loads(small.pulumi("stack", "export"))["deployment"]


def operations(small: project.Project) -> dict[str, str]:
    """Return what a preview would change: name -> operation."""
    steps = small.json("preview")["steps"]
    return {step["urn"].rpartition("::")[2]: step["op"] for step in steps if step["op"] in ("create", "update", "replace", "delete")}


def test_properties_that_the_sdk_lacks_are_refused(tmp_path: Path, engine_environment: dict[str, str]) -> None:
    made = project.make(tmp_path, engine_environment, {"Pulumi.yaml": PROJECT, "program/__main__.py": WRONG})
    made.pulumi("stack", "init", "test")
    told = made.pulumi("preview", ok=False)
    assert "blockDeviceMappings[0].ebs.encrypted: str expected, got bool True" in told
    assert "1 errored" in told
