"""`gpuyard pin` with boto3's real client against moto."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuyard.components.aws.images import PARAMETERS
from gpuyard.components.aws.job_images import job_image, reference
from gpuyard.stacks.cli import main
from gpuyard.stacks.pinning.job_image import by_digest
from gpuyard.stacks.settings import load
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.spec import load_job

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
        stack = [] if arguments[:1] == ("job.yaml",) else ["--stack", "dev", "-C", str(project)]
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", ["gpuyard", "pin", *stack, *arguments])
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
    assert "no job image is pinned: AWS's own for batch lacks s3fs" in done.stdout
    modified = file.stat().st_mtime_ns
    again = pin("--json")
    assert json.loads(again.stdout)["changed"] is False
    assert (file.read_text(), file.stat().st_mtime_ns) == (text, modified)
    assert [path.name for path in project.iterdir() if path.name.endswith(".new")] == []


def test_the_json_document(project: Path, pin: Pin, aws: None) -> None:
    document = json.loads(pin("--json", "--job-image", f"pytorch@{DIGEST}").stdout)
    assert document.pop("diff").count("\n+") == 6  # the head of the diff, five lines
    assert document == {
        "schema": "gpuyard.pin/1",
        "stack": "dev",
        "file": str((project / "Pulumi.dev.yaml").resolve()),
        "changed": True,
        "machine_images": {"l4": newest(), "other": newest()},
        "job_image": f"pytorch@{DIGEST}",
        "note": None,
    }
    assert json.loads(pin("--json").stdout)["job_image"] == f"pytorch@{DIGEST}"  # kept


def test_the_program_uses_the_pinned_images(project: Path, pin: Pin, aws: None) -> None:
    from gpuyard.stacks.program import _pinned

    pin()
    config = yaml.safe_load((project / "Pulumi.dev.yaml").read_text())["config"]
    plain = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    settings = load(plain, stack="dev")
    images = {name: _pinned(settings, name).image for name in settings.pools}
    assert images == {"l4": newest(), "other": newest(), "own": "ami-01234567", "theirs": None}


def push(registry: str, name: str, tag: str, region: str = "us-west-2") -> str:
    """Put an image into ECR and return its digest."""
    import boto3

    client = boto3.client("ecr", region_name=region)
    client.create_repository(repositoryName=name, registryId=registry)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"digest": DIGEST},
            "layers": [],
        }
    )
    pushed = client.put_image(repositoryName=name, registryId=registry, imageManifest=manifest, imageTag=tag)
    return str(pushed["image"]["imageId"]["imageDigest"])


def test_a_tag_in_ecr_becomes_its_digest(aws: None) -> None:
    digest = push("111122223333", "team/train", "v7")
    assert by_digest(TAGGED) == f"111122223333.dkr.ecr.us-west-2.amazonaws.com/team/train@{digest}"
    with pytest.raises(UsageError, match="ImageNotFoundException"):
        by_digest(TAGGED.replace("v7", "v8"))


@pytest.mark.parametrize("image", ["pytorch/pytorch:latest", "pytorch", "public.ecr.aws/x/y:1", "x@sha256:12", f"@{DIGEST}"])
def test_a_tag_outside_ecr_is_refused_with_the_command_for_its_digest(pin: Pin, project: Path, image: str, aws: None) -> None:
    done = pin("--job-image", image, "--json")
    assert done.returncode == 2
    [problem] = json.loads(done.stdout)["problems"]
    assert (problem["key"], problem["got"]) == ("--job-image", image)
    assert f"docker buildx imagetools inspect {image}" in problem["fix"]
    assert (project / "Pulumi.dev.yaml").read_text() == STACK


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("cloud: aws", "cloud: local", "not valid"),
        ("  aws:region: us-east-1   # here alone\n", "", "aws:region: required key is missing"),
        ("max_nodes: 2", "max_nodes: none", "max_nodes"),
    ],
)
def test_a_stack_that_cannot_be_pinned(project: Path, pin: Pin, aws: None, old: str, new: str, expected: str) -> None:
    changed = STACK.replace(old, new)
    (project / "Pulumi.dev.yaml").write_text(changed)
    done = pin()
    assert (done.returncode, expected in done.stderr) == (2, True), done.stderr
    assert (project / "Pulumi.dev.yaml").read_text() == changed


def test_local_has_nothing_to_pin(project: Path, pin: Pin) -> None:
    (project / "Pulumi.dev.yaml").write_text(
        "config:\n  gpuyard:cloud: local\n  gpuyard:buckets: {runs: {jobs: write}}\n  gpuyard:pools: {l: {service: local, max_nodes: 2}}\n"
    )
    done = pin()
    assert (done.returncode, "nothing to pin: cloud is local" in done.stderr) == (2, True), done.stderr


def test_an_error_of_aws_is_a_message(project: Path, pin: Pin, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpuyard.training_jobs.clouds.aws import AwsClients
    from gpuyard.training_jobs.errors import AuthError

    def denied(*_: Any, **__: Any) -> Any:
        raise AuthError("ssm get_parameter: AccessDenied")

    monkeypatch.setattr(AwsClients, "call", denied)
    done = pin()
    assert (done.returncode, "AccessDenied" in done.stderr) == (5, True)
    assert (project / "Pulumi.dev.yaml").read_text() == STACK


def test_the_image_of_a_job_file_is_pinned_in_place_once(project: Path, pin: Pin, aws: None) -> None:
    digest = push("111122223333", "team/train", "v7")
    file, pinned = project / "job.yaml", f"111122223333.dkr.ecr.us-west-2.amazonaws.com/team/train@{digest}"
    text = f"# nightly\r\nname: a   # keep\r\nimage: {TAGGED}   # ours\r\n\r\ncommand: [train.py]\r\n# end"
    file.write_bytes(text.encode())
    done = pin("job.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert file.read_bytes().decode() == text.replace(TAGGED, pinned)
    assert f"+image: {pinned}   # ours" in done.stdout
    assert f"-image: {TAGGED}" in done.stdout
    spec, _ = load_job(file)
    assert spec.image == pinned
    modified = file.stat().st_mtime_ns
    again = json.loads(pin("job.yaml", "--json").stdout)
    assert again == {"schema": "gpuyard.job-pin/1", "file": "job.yaml", "changed": False, "image": pinned, "diff": ""}
    assert file.stat().st_mtime_ns == modified


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\ncommand: [t.py]\n", ["names no image", "gpuyard pin --stack"]),
        ("name: a\nimage:\n", ["names no image"]),
        (
            "name: a\nimage: pytorch/pytorch:latest\n",
            ["image: digest cannot be looked up", "imagetools inspect pytorch/pytorch:latest"],
        ),
        (f"image: {TAGGED}\nimage: {TAGGED}\n", ["twice"]),
        (f"image: |\n  {TAGGED}\n", ["not a plain string on one line"]),
        (f"image: [{TAGGED}]\n", ["not a plain string on one line"]),
        (f"image: {TAGGED}\n", ["RepositoryNotFoundException"]),
        ("- image\n", ["is not a mapping"]),
        ("a: [\n", ["not valid YAML"]),
    ],
)
def test_a_job_file_that_cannot_be_pinned(project: Path, pin: Pin, aws: None, text: str, expected: list[str]) -> None:
    (project / "job.yaml").write_text(text)
    done = pin("job.yaml")
    assert done.returncode == 2
    assert [words for words in expected if words not in done.stderr] == []
    assert (project / "job.yaml").read_text() == text


def test_a_stack_and_a_job_file_exclude_each_other(project: Path, pin: Pin) -> None:
    for arguments in (["job.yaml", "--stack", "dev"], ["job.yaml", "--job-image", f"x@{DIGEST}"], ["job.yaml"]):
        done = pin(*arguments)
        assert done.returncode == 2  # the last: there is no such file
    assert "No such file" in done.stderr


def test_a_stack_of_sagemakers_pools_takes_awss_own_image(project: Path, pin: Pin, aws: None) -> None:
    image = job_image("sagemaker", "x86_64")
    assert image is not None
    digest = push("763104351884", image.repository, image.tag, "us-east-1")
    lines = [line for line in STACK.splitlines() if not line.startswith(("    l4:", "    other:", "    own:"))]
    (project / "Pulumi.dev.yaml").write_text("\n".join(lines) + "\n")
    document = json.loads(pin("--json").stdout)
    assert document["job_image"] == f"763104351884.dkr.ecr.us-east-1.amazonaws.com/{image.repository}@{digest}"
    assert document["note"] == f"the job image is AWS's own, {reference(image, 'us-east-1')}"
    again = json.loads(pin("--json").stdout)
    assert (again["changed"], again["job_image"], again["note"]) == (False, document["job_image"], None)


def test_a_region_without_awss_own_images_is_noted(project: Path, pin: Pin, aws: None) -> None:
    lines = [line for line in STACK.splitlines() if not line.startswith(("    l4:", "    other:", "    own:"))]
    (project / "Pulumi.dev.yaml").write_text("\n".join(lines).replace("us-east-1", "xx-east-9"))
    document = json.loads(pin("--json").stdout)
    assert (document["job_image"], document["changed"]) == (None, False)
    assert "in xx-east-9" in document["note"]
