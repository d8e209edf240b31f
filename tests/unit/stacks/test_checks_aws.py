"""Checks of a stack on AWS against an account whose requests botocore's models validate. Every call only reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from gpuyard.components.planning.regions import default_regions
from gpuyard.components.planning.yard import RecordedYard
from gpuyard.stacks.checks import StackFacts
from gpuyard.stacks.checks.aws import _machine_group, checks
from gpuyard.training_jobs.clouds.aws_errors import translate_error
from tests.helpers import committed_stacks

_SESSION = botocore.session.Session()
VPC_RULES = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-d"}]}]
HEALTHY: dict[str, Any] = {
    "sts.get_caller_identity": {"Account": "444455556666", "Arn": "arn:aws:sts::444455556666:assumed-role/me/x", "UserId": "x"},
    "service-quotas.get_service_quota": {"Quota": {"QuotaCode": "L-1", "QuotaName": "q", "Value": 10_000.0}},
    "service-quotas.list_service_quotas": {
        "Quotas": [{"QuotaCode": "L-9", "QuotaName": "ml.p5.48xlarge for spot training job usage", "Value": 0.0}]
    },
    "iam.get_role": {},
    "iam.get_open_id_connect_provider": {},
    "ecr.describe_images": {"imageDetails": [{}]},
    "s3.head_bucket": {},
    "kms.describe_key": {"KeyMetadata": {"KeyId": "k", "KeyState": "Enabled"}},
    "ec2.describe_security_groups": {
        "SecurityGroups": [
            {
                "GroupId": "sg-d",
                "IpPermissions": VPC_RULES,
                "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
            }
        ]
    },
}


class Account:
    """Answers the calls of a test's account. A result that is a text is the code of an error."""

    region = "us-east-2"

    def __init__(self, **changes: Any) -> None:
        self.answers, self.calls = {**HEALTHY, **{key.replace("__", "."): value for key, value in changes.items()}}, list[str]()

    def call(self, service: str, operation: str, body: Any, **_: Any) -> Any:
        model = _SESSION.get_service_model(service)
        names = {xform_name(name): name for name in model.operation_names}
        validate_parameters(body, model.operation_model(names[operation]).input_shape)
        self.calls.append(f"{service}.{operation}")
        answer = self.answers[f"{service}.{operation}"]
        if isinstance(answer, str):
            error = ClientError({"Error": {"Code": answer, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation)
            raise translate_error(error, f"call {service}") from error
        return answer


def facts(stack: str = "prod-aws") -> StackFacts:
    config, recording = committed_stacks.config(stack), committed_stacks.recorded(stack)
    return StackFacts(RecordedYard("gpuyard", stack, default_regions(config), recording), config, None)


def found(account: Account, stack: str = "prod-aws") -> dict[str, Any]:
    return {check.name: check for check in checks(facts(stack), account)}  # type: ignore[arg-type]


def test_a_ready_account_and_read_only_calls() -> None:
    account = Account()
    result = found(account)
    wrong = {name for name, check in result.items() if not check.ok}
    assert wrong == {"quota sagemaker: ml.p5.48xlarge for spot training job usage"}  # a new account has none
    assert "request-service-quota-increase --service-code sagemaker --quota-code L-9" in result[wrong.pop()].fix
    assert all(call.partition(".")[2].startswith(("get_", "list_", "describe_", "head_")) for call in account.calls)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ({"sts__get_caller_identity": {**HEALTHY["sts.get_caller_identity"], "Account": "999988887777"}}, "identity", "999988887777"),
        ({"iam__get_open_id_connect_provider": "NoSuchEntity"}, "submitters", "create-open-id-connect-provider"),
        ({"s3__head_bucket": "404"}, "bucket", "correct `existing`"),
        ({"s3__head_bucket": "AccessDenied"}, "bucket", "cannot be checked"),
        (
            {"ec2__describe_security_groups": {"SecurityGroups": [{"GroupId": "sg-d", "IpPermissions": [], "IpPermissionsEgress": []}]}},
            "network",
            "sg-d",
        ),
        ({"ec2__describe_security_groups": {"SecurityGroups": []}}, "network", "no such VPC"),
    ],
)
def test_each_missing_item_has_a_fix(change: dict[str, Any], check: str, words: str) -> None:
    wrong = [each for name, each in found(Account(**change)).items() if name.startswith(check) and not each.ok]
    assert wrong
    assert any(words in f"{each.detail} {each.fix}" for each in wrong)
    assert all(each.fix for each in wrong)


def test_a_spot_pool_needs_the_spot_role() -> None:
    assert "spot role" not in found(Account())
    missing = found(Account(iam__get_role="NoSuchEntity"), "dev-aws")["spot role"]
    assert (missing.ok, missing.fix) == (False, "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com")


def test_a_low_quota_names_the_request() -> None:
    low = {"Quota": {"QuotaCode": "L-DB2E81BA", "QuotaName": "G", "Value": 8.0}}
    check = found(Account(**{"service-quotas__get_service_quota": low}), "dev-aws")["quota L-DB2E81BA"]
    assert not check.ok
    assert "8 vCPU, the pools l4 need 96" in check.detail
    assert check.fix.endswith("--quota-code L-DB2E81BA --desired-value 96")


def test_published_targets_are_compared_with_the_stack(tmp_path: Path) -> None:
    from gpuyard.training_jobs.target import parse_targets
    from tests.helpers.batch_pool import target_document

    (tmp_path / "gpuyard").mkdir()
    document = {"p5": target_document(f"file://{tmp_path}", account_id="111122223333")}
    healthy = {"jobQueues": [{"jobQueueName": "q", "computeEnvironmentOrder": []}]}
    known = facts("dev-aws")._replace(targets=parse_targets(document, "t"))
    for written, ok in ((None, False), (document, True), ({"p5": {**document["p5"], "max_nodes": 9}}, False)):
        if written is not None:
            (tmp_path / "gpuyard/targets.json").write_text(json.dumps(written))
        result = {check.name: check for check in checks(known, Account(batch__describe_job_queues=healthy))}  # type: ignore[arg-type]
        assert result["targets.json"].ok is ok
        assert result["pool p5"].ok


@pytest.mark.parametrize(
    ("state", "ok", "fix"), [("ENABLED", True, None), ("DISABLED", False, "pulumi up --refresh"), (None, False, "ask for this permission")]
)
def test_a_disabled_compute_environment_is_reported_with_the_command_that_opens_it(state: str | None, ok: bool, fix: str | None) -> None:
    """None: the caller must not read it. Then the check fails, because the environment may be disabled."""
    from gpuyard.training_jobs.target import parse_targets
    from tests.helpers.batch_pool import target_document

    order = [{"order": 1, "computeEnvironment": "arn:e"}]
    account = Account(
        batch__describe_job_queues={"jobQueues": [{"jobQueueName": "q", "computeEnvironmentOrder": order}]},
        batch__describe_compute_environments={"computeEnvironments": [{"state": state}]} if state else "AccessDeniedException",
    )
    known = facts("dev-aws")._replace(targets=parse_targets({"p5": target_document("file:///tmp/no-bucket")}, "t"))
    check = next(each for each in checks(known, account) if each.name == "pool p5")  # type: ignore[arg-type]
    assert check.ok is ok
    assert fix in check.fix if fix and check.fix else check.fix is fix


@pytest.mark.parametrize(("suspended", "ok"), [(["AZRebalance"], True), (["AZRebalance", "Launch"], False)])
def test_a_machine_group_that_the_replacement_limit_stopped_is_reported(suspended: list[str], ok: bool) -> None:
    group = {"SuspendedProcesses": [{"ProcessName": name} for name in suspended]}
    account = Account(autoscaling__describe_auto_scaling_groups={"AutoScalingGroups": [group]})
    yard = facts("dev-aws").yard
    pool = next(iter(yard.pools))
    check = _machine_group(pool.name, facts("dev-aws"), account)  # type: ignore[arg-type]
    assert check is not None
    assert (check.name, check.ok) == (f"pool {pool.name}", ok)
    assert ok or (check.fix or "").count("pulumi up --refresh") == 1


def test_a_stack_that_is_not_up_has_no_machine_group_to_check() -> None:
    account = Account(autoscaling__describe_auto_scaling_groups={"AutoScalingGroups": []})
    assert _machine_group("l4", facts("dev-aws"), account) is None  # type: ignore[arg-type]
