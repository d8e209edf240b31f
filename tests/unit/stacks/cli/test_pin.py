"""`gpuyard pin` with boto3's real client; moto answers for AWS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.aws.images import PARAMETERS
from stacks.cli import main
from stacks.cli.pin import by_digest
from stacks.settings import load
from training_jobs.errors import UsageError

Pin = Callable[..., subprocess.CompletedProcess[str]]
STACK = """\
# the yard
config:
  aws:region: us-east-1   # here alone
  gpuyard:cloud: aws
  gpuyard:owner: me@acme.io
  gpuyard:expires: "2999-03-31"
  gpuyard:network: {zones: [us-east-1a]}
  gpuyard:buckets: {runs: {jobs: write}}
  gpuyard:pools:
    l4: {machine: g6.12xlarge, zone: us-east-1a, max_nodes: 2, service: batch} # cheap
    other: {machine: g5.xlarge, zone: us-east-1a, max_nodes: 1, service: batch}
    own: {machine: g5.xlarge, zone: us-east-1a, max_nodes: 1, service: batch, image: ami-01234567}
    theirs: {machine: p5.48xlarge, max_nodes: 4, service: sagemaker}
  # the end
"""
DIGEST = "sha256:" + "a" * 64
TAGGED = "111122223333.dkr.ecr.us-west-2.amazonaws.com/team/train:v7"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: gpuyard\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("")
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK)
    return tmp_path


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield


@pytest.fixture
def pin(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pin:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["gpuyard", "pin", "--stack", "dev", "-C", str(project), *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err, printed.err
        code = left.value.code
        return subprocess.CompletedProcess(arguments, code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


def newest() -> str:
    import boto3

    client = boto3.client("ssm", region_name="us-east-1")
    return str(client.get_parameter(Name=PARAMETERS["batch"]["x86_64"])["Parameter"]["Value"])


def test_the_newest_images_are_written_once(project: Path, pin: Pin, aws: None) -> None:
    done, file = pin(), project / "Pulumi.dev.yaml"
    assert (done.returncode, done.stderr) == (0, "")
    text = file.read_text()
    config = yaml.safe_load(text)["config"]
    assert config["gpuyard:pins"] == {"machine_images": {"l4": newest(), "other": newest()}}
    assert [line for line in text.splitlines() if line in STACK.splitlines()] == STACK.splitlines()
    assert f"+      l4: {newest()}\n" in done.stdout
    assert "pulumi preview --stack dev" in done.stdout
    modified = file.stat().st_mtime_ns
    again = pin("--json")
    assert json.loads(again.stdout)["changed"] is False
    assert (file.read_text(), file.stat().st_mtime_ns) == (text, modified)
    assert [path.name for path in project.iterdir() if path.name.endswith(".new")] == []


def test_as_a_document(project: Path, pin: Pin, aws: None) -> None:
    document = json.loads(pin("--json", "--job-image", f"pytorch@{DIGEST}").stdout)
    assert document.pop("diff").count("\n+") == 6  # the head of the diff, five lines
    assert document == {
        "schema": "gpuyard.pin/1",
        "stack": "dev",
        "file": str((project / "Pulumi.dev.yaml").resolve()),
        "changed": True,
        "machine_images": {"l4": newest(), "other": newest()},
        "job_image": f"pytorch@{DIGEST}",
    }
    assert json.loads(pin("--json").stdout)["job_image"] == f"pytorch@{DIGEST}"  # kept


def test_the_program_takes_what_was_pinned(project: Path, pin: Pin, aws: None) -> None:
    from stacks.program import _pinned

    pin()
    config = yaml.safe_load((project / "Pulumi.dev.yaml").read_text())["config"]
    plain = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings = load(plain, stack="dev")
    images = {name: _pinned(settings, name).image for name in settings.pools}
    assert images == {"l4": newest(), "other": newest(), "own": "ami-01234567", "theirs": None}


def test_a_tag_in_ecr_becomes_its_digest(aws: None) -> None:
    import boto3

    client = boto3.client("ecr", region_name="us-west-2")
    client.create_repository(repositoryName="team/train", registryId="111122223333")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": DIGEST},
            "layers": [],
        }
    )
    pushed = client.put_image(repositoryName="team/train", registryId="111122223333", imageManifest=manifest, imageTag="v7")
    digest = pushed["image"]["imageId"]["imageDigest"]
    assert by_digest(TAGGED) == f"111122223333.dkr.ecr.us-west-2.amazonaws.com/team/train@{digest}"
    with pytest.raises(UsageError, match="ImageNotFoundException"):
        by_digest(TAGGED.replace("v7", "v8"))


@pytest.mark.parametrize("image", ["pytorch/pytorch:latest", "pytorch", "public.ecr.aws/x/y:1", "x@sha256:12", f"@{DIGEST}"])
def test_a_tag_elsewhere_is_refused_with_the_way_to_its_digest(pin: Pin, project: Path, image: str, aws: None) -> None:
    done = pin("--job-image", image, "--json")
    assert done.returncode == 2
    [problem] = json.loads(done.stdout)["problems"]
    assert (problem["key"], problem["got"]) == ("--job-image", image)
    assert f"docker buildx imagetools inspect {image}" in problem["fix"]
    assert (project / "Pulumi.dev.yaml").read_text() == STACK


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("cloud: aws", "cloud: local", "not valid"),
        ("  aws:region: us-east-1   # here alone\n", "", "aws:region: not set"),
        ("max_nodes: 2", "max_nodes: none", "max_nodes"),
    ],
)
def test_a_stack_that_cannot_be_pinned(project: Path, pin: Pin, aws: None, old: str, new: str, told: str) -> None:
    changed = STACK.replace(old, new)
    (project / "Pulumi.dev.yaml").write_text(changed)
    done = pin()
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert (project / "Pulumi.dev.yaml").read_text() == changed


def test_local_has_nothing_to_pin(project: Path, pin: Pin) -> None:
    (project / "Pulumi.dev.yaml").write_text(
        "config:\n  gpuyard:cloud: local\n  gpuyard:buckets: {runs: {jobs: write}}\n  gpuyard:pools: {l: {service: local, max_nodes: 2}}\n"
    )
    done = pin()
    assert (done.returncode, "nothing to pin: cloud is local" in done.stderr) == (2, True), done.stderr


def test_a_refusal_of_aws_is_told_in_words(project: Path, pin: Pin, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from training_jobs.backends.aws import Aws
    from training_jobs.errors import AuthError

    def denied(*_: Any, **__: Any) -> Any:
        raise AuthError("ssm get_parameter: AccessDenied")

    monkeypatch.setattr(Aws, "call", denied)
    done = pin()
    assert (done.returncode, "AccessDenied" in done.stderr) == (5, True)
    assert (project / "Pulumi.dev.yaml").read_text() == STACK
