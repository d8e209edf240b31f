"""AWS's GpuPool over time: its end, the effect of changes, and wrong inputs."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.aws.batch_environment import close_request
from gpuyard.components.aws.gpu_pool import GpuPool
from gpuyard.components.expiry import End, end_of, warning
from gpuyard.components.spec.pool import GpuPoolSpec
from tests.helpers.aws_sample_pools import BATCH, BLOCK, ENVIRONMENT, GROUP, RESERVED, TAGS, TEMPLATE, VMS, changed, kinds, network, pool


def test_the_end_of_a_batch_pool(record: Any) -> None:
    recorded = record(pool(BATCH))
    schedule = recorded.inputs("aws:scheduler/schedule:Schedule", "pool-end")
    environment = "arn:aws:batch:us-east-1:111122223333:pool-environment"
    assert (schedule["scheduleExpression"], schedule["scheduleExpressionTimezone"]) == ("at(2999-03-31T00:00:00)", "UTC")
    assert schedule["flexibleTimeWindow"] == {"mode": "OFF"}
    assert schedule["target"]["arn"] == "arn:aws:scheduler:::aws-sdk:batch:updateComputeEnvironment"
    policy = json.loads(recorded.inputs("aws:iam/rolePolicy:RolePolicy", "pool-scheduler-policy")["policy"])
    assert policy["Statement"] == [{"Effect": "Allow", "Action": ["batch:UpdateComputeEnvironment"], "Resource": [environment]}]
    assert json.loads(schedule["target"]["input"])["ComputeEnvironment"] == environment


def test_the_request_at_the_end_is_valid_for_batch() -> None:
    """The scheduler's keys are the keys of the API with a capital first letter."""
    from botocore.session import Session
    from botocore.validate import validate_parameters

    body = {key[0].lower() + key[1:]: value for key, value in json.loads(close_request("arn:aws:batch:::ce")).items()}
    body["computeResources"] = {key[0].lower() + key[1:]: value for key, value in body["computeResources"].items()}
    operation = Session().get_service_model("batch").operation_model("UpdateComputeEnvironment")
    validate_parameters(body, operation.input_shape)
    assert body["state"] in operation.input_shape.members["state"].enum


def test_a_vms_pool_ends_before_its_capacity_block(record: Any) -> None:
    inputs = record(pool({**VMS, "capacity": BLOCK})).inputs("aws:autoscaling/schedule:Schedule", "pool-end")
    assert inputs == {
        "autoscalingGroupName": "pool-machines",
        "scheduledActionName": "end",
        "startTime": "2999-01-19T10:50:00Z",
        "minSize": 0,
        "maxSize": 0,
        "desiredCapacity": 0,
    }


@pytest.mark.parametrize("tags", [{}, {"expires": "never"}])
def test_a_pool_without_an_end(record: Any, tags: dict[str, str]) -> None:
    for spec in (BATCH, VMS):
        assert not [line for line in kinds(record(pool(spec, tags))) if "Schedule" in line or "scheduler" in line]


@given(
    st.datetimes(datetime.datetime(2026, 1, 1), datetime.datetime(2030, 1, 1)),
    st.dates(datetime.date(2026, 1, 1), datetime.date(2030, 1, 1)),
)
def test_the_earlier_end_applies(block: datetime.datetime, day: datetime.date) -> None:
    text = block.strftime("%Y-%m-%dT%H:%M:%SZ")
    spec = GpuPoolSpec.model_validate({**VMS, "capacity": {**BLOCK, "ends": text}})
    found = [end_of(spec, expires) for expires in (day.isoformat(), "never", None)]
    assert all(end is not None for end in found)
    both, block_alone, same = (end.at for end in found if end)
    assert block_alone == same
    assert block_alone.replace(tzinfo=None) + datetime.timedelta(minutes=40) == block.replace(microsecond=0)
    assert both <= block_alone
    assert both.replace(tzinfo=None) <= datetime.datetime.combine(day, datetime.time())


def test_warnings_before_and_after_the_end() -> None:
    at = datetime.datetime(2027, 3, 31, tzinfo=datetime.UTC)
    end, day = End(at, "the yard expires on 2027-03-31"), datetime.timedelta(days=1)
    assert warning(None, at) is None
    assert warning(end, at - 8 * day) is None
    assert warning(end, at - 6 * day) == "goes to zero nodes at 2027-03-31T00:00Z: the yard expires on 2027-03-31"
    assert warning(end, at) == (
        "has been at zero nodes since 2027-03-31T00:00Z: the yard expires on 2027-03-31; set a later date and run `pulumi up --refresh`"
    )


@pytest.mark.parametrize("spec", [BATCH, VMS])
def test_a_pool_past_its_end_has_zero_nodes(record: Any, spec: dict[str, Any]) -> None:
    """AWS rejects a schedule in the past, and the next `pulumi up` must not start the pool again."""
    recorded = record(pool({**spec, "min_nodes": 1}, {**TAGS, "expires": "2020-01-01"}))
    assert [line for line in recorded.warnings if "pool pool: has been at zero nodes since 2020-01-01T00:00Z" in line]
    assert not [line for line in kinds(recorded) if "Schedule" in line or "scheduler" in line]
    if spec is BATCH:
        environment = recorded.inputs(ENVIRONMENT, "pool-environment")
        assert (environment["state"], environment["computeResources"]["minVcpus"]) == ("DISABLED", 0)
    else:
        group = recorded.inputs(GROUP, "pool-machines")
        assert (group["minSize"], group["maxSize"]) == (0, 0)


@pytest.mark.parametrize("spec", [BATCH, VMS, {**BATCH, "capacity": BLOCK}])
def test_a_second_run_changes_nothing(record: Any, spec: dict[str, Any]) -> None:
    assert changed(record, pool(spec), pool(spec)) == []


@pytest.mark.parametrize("service", ["batch", "vms"])
def test_another_block_changes_the_end_and_the_template(record: Any, service: str) -> None:
    spec = {**BATCH, "service": service, "capacity": BLOCK}
    other = {**BLOCK, "reservation": "cr-fedcba98765432100", "ends": "2999-02-19T11:30:00Z"}
    assert changed(record, pool(spec), pool({**spec, "capacity": other})) == ["pool-end", "pool-template"]


@pytest.mark.parametrize(("image", "ignored"), [(None, 1), ("ami-0123456789abcdef0", 0)])
def test_an_unpinned_batch_pool_keeps_its_image(record: Any, image: str | None, ignored: int) -> None:
    """A new image is an infrastructure update, which ends jobs older than six hours."""
    environment = record(pool({**BATCH, "image": image})).one(ENVIRONMENT, "pool-environment")
    assert list(environment.ignoreChanges) == ["computeResources.ec2Configurations[0].imageIdOverride"][:ignored]


def test_a_later_end_makes_no_new_template_version(record: Any) -> None:
    later = {**TAGS, "expires": "2999-12-31"}
    before = record(pool(BATCH)).inputs(TEMPLATE, "pool-template")
    after = record(pool(BATCH, later)).inputs(TEMPLATE, "pool-template")
    assert {key for key in before if before[key] != after[key]} == {"tags"}  # tags of the template itself, which make no new version


def test_the_longest_pool_name_fits_iams_limit(record: Any) -> None:
    """The scheduler's role has the longest name. IAM's limit is 64 characters, and Pulumi adds seven of them."""
    most = "p" * 40
    recorded = record(pool(BATCH, name=most))
    assert max(len(f"{request.name}-1234567") for request in recorded.resources.values() if request.type.endswith(":Role")) <= 64
    for name in ("My Pool", f"{most}p"):
        with pytest.raises(pulumi.RunError, match=r"GpuPool .*: 2 problems[\s\S]*name: not a valid name, got"):
            record(pool({**BATCH, "disk_gib": 1}, name=name))


def test_a_change_of_one_pool_changes_no_other(record: Any) -> None:
    def yard(nodes: int) -> Any:
        return lambda: [pool(BATCH, name="left")(), pool({**BATCH, "max_nodes": nodes}, name="right")()]

    assert changed(record, yard(2), yard(4)) == ["right-environment"]


@pytest.mark.parametrize("service", ["batch", "vms"])
def test_batch_and_vms_pools_need_egress(record: Any, service: str) -> None:
    with pytest.raises(
        pulumi.RunError,
        match=f"service: nodes in network net cannot reach AWS services, because its egress is none, got '{service}', allowed: sagemaker",
    ):
        record(lambda: GpuPool("pool", {**BATCH, "service": service}, network=network("none"), tags=TAGS))
    theirs = {"service": "sagemaker", "machine": "p5.48xlarge", "max_nodes": 2}
    record(lambda: GpuPool("pool", theirs, network=network("none"), tags=TAGS))


@pytest.mark.parametrize(
    ("spec", "tags", "expected"),
    [
        ({"zone": "us-east-1f"}, {}, ["zone: network net has no subnet in this zone, got 'us-east-1f', allowed: us-east-1a, us-east-1b"]),
        ({"image": "ubuntu"}, {}, ["image: not the id of an AMI, got 'ubuntu', allowed: ami- and 8 or 17 hex digits"]),
        (
            {"capacity": {**RESERVED, "reservation": "block-7"}},
            {},
            ["capacity.reservation: not the id of a capacity reservation, got 'block-7'"],
        ),
        (
            {"service": "sagemaker", "image": "ami-01234567"},
            {},
            ["image: SageMaker chooses the machine image, got 'ami-01234567'; remove image"],
        ),
        ({"service": "sagemaker", "min_nodes": 1}, {}, ["min_nodes: wrong value, got 1, allowed: 0 for service: sagemaker"]),
        ({}, {"expires": "tomorrow"}, ["tags.expires: not a date, got 'tomorrow', allowed: a quoted date"]),
        ({"capacity": "spot"}, {}, ["capacity: wrong value, got 'spot'", "service: sagemaker"]),
        (
            {"machine": "p5en.48xlarg", "zone": "x", "image": "y", "disk_gib": 1},
            {},
            ["did you mean p5en.48xlarge", "zone:", "image:", "disk_gib:"],
        ),
    ],
)
def test_all_wrong_inputs_are_reported(record: Any, spec: dict[str, Any], tags: dict[str, str], expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as error:
        record(pool({**BATCH, **spec}, tags))
    assert str(error.value).startswith("GpuPool pool: ")
    assert [words for words in expected if words not in str(error.value)] == []
