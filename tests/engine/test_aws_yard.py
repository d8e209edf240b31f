"""The stacks dev-aws and prod-aws through the real engine, with the strict stand-in for AWS: what a user types, and what is there then."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from stacks.cli.plan import plan
from tests.support.standin import project
from tests.support.standin.record_state import stack
from training_jobs.target import parse_targets

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]  # minutes where other work takes the cores

OWN_PROGRAM = """
import pulumi
from components.aws import Bucket, GpuPool, JobService, Network

TAGS = {"owner": "ml@acme.io", "expires": "2027-03-31"}
hidden = pulumi.Config().require_secret("hidden")
net = Network.adopt("net", vpc_id="vpc-0a1b2c3d4e5f60718", subnet_ids={"us-east-1a": "subnet-0a1b2c3d4e5f60718"}, tags=TAGS)
data = Bucket.adopt("data", bucket=hidden, tags=TAGS)
runs = Bucket("runs", {"on_destroy": "keep"}, tags=TAGS)
pool = GpuPool("l4", {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 1, "service": "batch"}, network=net, tags=TAGS)
jobs = JobService("train", pools=[pool], reads=[data], writes=[runs], tags=TAGS)
pulumi.export("job_targets", jobs.targets)
"""
SECRET = "bucket-nobody-may-know"


def test_the_life_of_dev_aws(tmp_path: Path, engine_environment: dict[str, str]) -> None:
    yard = stack(tmp_path, engine_environment, "dev-aws")
    preview = yard.json("preview")
    assert set(preview["changeSummary"]) == {"create"}
    assert not yard.living(), "a preview makes nothing"
    planned = {step["urn"] for step in preview["steps"]}
    assert offline(yard, "dev-aws") == planned

    told = yard.up(ok=False, env={"GPUYARD_STANDIN_FAIL_CREATE": "20"})
    assert "RequestLimitExceeded" in told
    assert "Traceback" not in told
    made = set(yard.living())
    assert made
    yard.forget()
    yard.up()
    assert not made & {urn for _, urn in yard.calls("Create")}, "what was made is not made twice"
    assert not yard.calls("Delete", "Update")
    assert planned == {resource["urn"] for resource in resources(yard) if not is_provider(resource)}
    targets = yard.json("stack", "output")["job_targets"]
    assert set(parse_targets(targets, "the export")) == {"l4", "l4-spot"}
    objects = [each for each in yard.living().values() if each["type"] == "aws:s3/bucketObjectv2:BucketObjectv2"]
    assert [json.loads(each["inputs"]["content"]) for each in objects] == [targets]

    yard.up("--expect-no-changes")

    file = yard.root / "stacks" / "Pulumi.dev-aws.yaml"
    text = file.read_text(encoding="utf-8")
    assert "max_nodes: 2 " in text
    file.write_text(text.replace("max_nodes: 2 ", "max_nodes: 3 "), encoding="utf-8")
    yard.forget()
    yard.up()
    changed = {urn for _, urn in yard.calls("Create", "Update", "Delete")}
    assert changed
    others = {urn for urn in changed if not urn.rpartition("::")[2].startswith("l4-")}
    assert {urn.split("$")[-1].partition("::")[0] for urn in others} <= {"aws:s3/bucketObjectv2:BucketObjectv2"}, others
    assert not [urn for urn in changed if urn.rpartition("::")[2].startswith("l4-spot")]

    yard.pulumi("destroy", "--yes", "--skip-preview")
    assert yard.living() == {}


def test_the_life_of_prod_aws(tmp_path: Path, engine_environment: dict[str, str]) -> None:
    yard = stack(tmp_path, engine_environment, "prod-aws")
    yard.up()
    assert offline(yard, "prod-aws") == {resource["urn"] for resource in resources(yard) if not is_provider(resource)}
    outputs = yard.json("stack", "output")
    assert set(parse_targets(outputs["job_targets"], "the export")) == {"h200", "h100-spot"}
    yard.pulumi("preview", "--expect-no-changes")
    yard.pulumi("destroy", "--yes", "--skip-preview")
    kept = yard.living()
    assert kept, "on_destroy: keep"
    assert {each["type"].split("/")[0] for each in kept.values()} <= {"aws:s3", "aws:kms"}


def test_a_secret_stays_one(tmp_path: Path, engine_environment: dict[str, str]) -> None:
    """The name of a bucket, given as a secret to a program of a team's own, is in nobody's sight: state, outputs, logs, user data."""
    files = {"Pulumi.yaml": "name: own\nruntime: python\nmain: program\nconfig:\n  aws:region: {value: us-east-1}\n"}
    yard = project.make(tmp_path, engine_environment, {**files, "program/__main__.py": OWN_PROGRAM})
    yard.pulumi("stack", "init", "test")
    yard.pulumi("config", "set", "--secret", "hidden", SECRET)
    yard.up()
    assert yard.json("stack", "output") == {"job_targets": "[secret]"}
    assert SECRET in yard.pulumi("stack", "output", "job_targets", "--show-secrets")
    yard.said.pop(-2)
    state = yard.pulumi("stack", "export")
    assert SECRET not in state + "".join(yard.said)
    for each in yard.living().values():
        if data := each["inputs"].get("userData"):
            assert SECRET not in base64.b64decode(data).decode()


def offline(yard: project.Project, name: str) -> set[str]:
    """What `gpuyard plan` says that there will be, and the stack itself, which it leaves out."""
    found = plan(name, yard.root)
    assert not found.problems
    urns = [resource.urn for resource in found.resources]
    assert len(set(urns)) == len(urns)
    return {*urns, f"urn:pulumi:{name}::gpuyard::pulumi:pulumi:Stack::gpuyard-{name}"}


def is_provider(resource: dict[str, Any]) -> bool:
    """Whether the engine made it by itself, to speak to AWS."""
    return str(resource["type"]).startswith("pulumi:providers")


def resources(yard: project.Project) -> list[dict[str, Any]]:
    """What the state holds."""
    return list(json.loads(yard.pulumi("stack", "export"))["deployment"]["resources"])
