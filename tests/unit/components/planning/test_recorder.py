"""The recorder: which values a preview knows, what it lists as unknown, and what an engine would refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from gpuyard.components.planning.recorder import Recording, record

Run = Callable[..., Recording]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run_it(program: Callable[[], Any], **options: Any) -> Recording:
        return record(program, project="acme", stack="prod", root=tmp_path, **options)

    return run_it


def test_a_preview_knows_inputs_and_no_computed_outputs(run: Run) -> None:
    def program() -> None:
        vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
        subnet = aws.ec2.Subnet("a", vpc_id=vpc.id, cidr_block="10.0.0.0/18")
        pulumi.export("cidr", vpc.cidr_block)
        pulumi.export("id", vpc.id)
        pulumi.export("arn", subnet.arn)

    recorded = run(program)
    assert recorded.exports == {"cidr": "10.0.0.0/16"}
    assert recorded.unknown == {"id", "arn"}
    assert isinstance(recorded.inputs("aws:ec2/subnet:Subnet", "a")["vpcId"], pulumi.output.Unknown)
    assert recorded.problems == []


def test_provider_functions_reads_and_other_stacks_are_unknown_and_listed(run: Run) -> None:
    def program() -> None:
        company = pulumi.StackReference("acme/network/prod")
        pulumi.export("vpc", company.get_output("vpc_id"))
        pulumi.export("region", aws.get_region_output().region)
        pulumi.export("subnet", aws.ec2.Subnet.get("given", "subnet-1").vpc_id)

    recorded = run(program)
    assert recorded.exports == {}
    assert recorded.unknown == {"vpc", "region", "subnet"}
    assert recorded.references == ["acme/network/prod"]
    assert recorded.lookups == ["aws:index/getRegion:getRegion"]
    assert recorded.reads == ["aws:ec2/subnet:Subnet given"]


def test_a_direct_provider_function_call_is_refused_with_its_output_form(run: Run) -> None:
    with pytest.raises(pulumi.RunError, match=r"aws:index/getRegion:getRegion.*_output"):
        run(lambda: aws.get_region().region)


def test_transforms_and_remote_components_are_listed(run: Run) -> None:
    def program() -> None:
        pulumi.runtime.register_resource_transform(lambda args: None)
        pulumi.ComponentResource("t:index:Remote", "far", {}, remote=True)

    recorded = run(program)
    assert recorded.warnings == ["the stack has a transform, which a plan does not run: its changes are not in the plan"]
    assert recorded.lookups == ["remote component t:index:Remote far"]


def test_an_asynchronous_program_is_awaited(run: Run) -> None:
    async def main() -> dict[str, Any]:
        key = aws.kms.Key("key", description="later")
        return {"what": key.description}

    assert run(lambda: pulumi.run(main)).exports == {"what": "later"}


def test_urns_hold_the_types_of_all_parents(run: Run) -> None:
    def program() -> None:
        outer = pulumi.ComponentResource("t:index:Outer", "outer")
        inner = pulumi.ComponentResource("t:index:Inner", "inner", opts=pulumi.ResourceOptions(parent=outer))
        aws.kms.Key("key", opts=pulumi.ResourceOptions(parent=inner))

    assert list(run(program).resources) == [
        "urn:pulumi:prod::acme::t:index:Outer::outer",
        "urn:pulumi:prod::acme::t:index:Outer$t:index:Inner::inner",
        "urn:pulumi:prod::acme::t:index:Outer$t:index:Inner$aws:kms/key:Key::key",
    ]


def test_two_resources_of_one_urn_are_a_problem(run: Run) -> None:
    def program() -> None:
        aws.kms.Key("key")
        aws.kms.Key("key")

    assert run(program).problems == ["aws:kms/key:Key key: two resources have this URN; rename one"]


def test_a_repeated_component_is_one_problem(run: Run) -> None:
    def program() -> None:
        for _ in range(2):
            outer = pulumi.ComponentResource("t:index:Outer", "outer")
            inner = pulumi.ComponentResource("t:index:Inner", "inner", opts=pulumi.ResourceOptions(parent=outer))
            aws.kms.Key("key", opts=pulumi.ResourceOptions(parent=inner))

    assert run(program).problems == ["t:index:Outer outer: two resources have this URN; rename one"]


def test_a_reference_to_an_unregistered_resource_is_a_problem(run: Run) -> None:
    def program() -> None:
        ghost = pulumi.Output.from_input("urn:pulumi:prod::acme::t:index:Ghost::ghost")
        parent = pulumi.ComponentResource("t:index:Real", "real")
        parent.__dict__["urn"] = ghost
        aws.kms.Key("key", opts=pulumi.ResourceOptions(parent=parent))

    assert run(program).problems == ["aws:kms/key:Key key: parent is t:index:Ghost ghost, which is not registered"]


def test_encrypted_config_is_unknown_as_a_secret_and_refused_as_plain_text(run: Run) -> None:
    def program() -> None:
        config = pulumi.Config("acme")
        pulumi.export("token", config.require_secret("token"))
        pulumi.export("size", config.get_secret_int("size"))
        pulumi.export("plain", config.require("plain"))
        pulumi.export("absent", config.get_secret("absent"))

    config = {"acme:token": "", "acme:size": "", "acme:plain": "yes"}
    recorded = run(program, config=config, encrypted=("acme:token", "acme:size"))
    assert recorded.exports == {"plain": "yes", "absent": None}
    assert recorded.unknown == {"token", "size"}
    with pytest.raises(pulumi.RunError, match=r"acme:token is encrypted.*require_secret"):
        run(lambda: pulumi.Config("acme").require("token"), config=config, encrypted=("acme:token",))
    assert pulumi.Config.require_secret.__module__ == "pulumi.config"  # restored


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"network_interfaces": [{"devic_index": 0}]}, "networkInterfaces.0.devic_index: unknown argument"),
        ({"network_interfaces": [{"device_index": "first"}]}, "networkInterfaces.0.deviceIndex: got 'first', allowed: a whole number"),
        ({"network_interfaces": {"device_index": 0}}, "allowed: a list"),
        ({"metadata_options": {"http_tokens": True}}, "metadataOptions.httpTokens: got True, allowed: a string"),
        ({"tags": {"cost": 3}}, "tags.cost: got 3.0, allowed: a string"),
        ({"disable_api_stop": "yes"}, "disableApiStop: got 'yes', allowed: true or false"),
        ({"metadata_options": "required"}, "metadataOptions: got 'required', allowed: a mapping with"),
    ],
)
def test_wrong_arguments_are_problems(run: Run, arguments: dict[str, Any], problem: str) -> None:
    recorded = run(lambda: aws.ec2.LaunchTemplate("lt", **arguments))
    (found,) = recorded.problems
    assert found.startswith("aws:ec2/launchTemplate:LaunchTemplate lt: ")
    assert problem in found


def test_a_missing_nested_argument_is_a_problem(run: Run) -> None:
    def program() -> None:
        aws.s3.BucketLifecycleConfiguration("l", bucket="b", rules=[{"id": "old"}])

    kind = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    assert run(program).problems == [f"{kind} l: rules.0.status: required argument is missing"]


def test_right_arguments_are_no_problem(run: Run) -> None:
    def program() -> None:
        aws.s3.BucketVersioning("versions", bucket="b", versioning_configuration={"status": "Enabled"})
        vpc = aws.ec2.Vpc("v", cidr_block="10.0.0.0/16", tags={"a": pulumi.Output.secret("b")})
        aws.ec2.LaunchTemplate(
            "lt",
            image_id=aws.ssm.get_parameter_output(name="/a").value,
            network_interfaces=[{"device_index": 0, "security_groups": [vpc.id], "associate_public_ip_address": "false"}],
            block_device_mappings=[{"device_name": "/dev/xvda", "ebs": {"encrypted": "true", "volume_size": 200}}],
            tags=pulumi.Output.secret({"a": "b"}),
        )
        aws.s3.BucketObjectv2("targets", bucket="b", content="{}", source=None)
        rule = {"apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms"}, "bucket_key_enabled": True}
        aws.s3.BucketServerSideEncryptionConfiguration("named as a nested type is", bucket="b", rules=[rule])
        aws.batch.JobQueue("q", priority=1, state="ENABLED", compute_environment_orders=[{"order": 1, "compute_environment": vpc.arn}])
        pulumi.ComponentResource("t:index:Any", "any", {"whatever": 1})

    assert run(program).problems == []
