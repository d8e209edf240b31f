"""IAM policies: named actions on named resources; every wildcard is in the table and every row of the table is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.aws import job_images, permissions
from gpuyard.components.aws.allowed_wildcards import WILDCARDS, is_listed
from gpuyard.components.aws.endpoints import INTERFACE
from gpuyard.components.aws.permissions import Storage
from gpuyard.components.aws.policy import ArnScope, PolicyError, Statement, policy_document
from gpuyard.components.aws.replacement_limit import start_statements, stop_statements
from gpuyard.components.aws.submitter import BatchAccess, SageMakerAccess, submitter
from gpuyard.components.aws.trust import PRINCIPALS, Trust
from gpuyard.components.naming import job_prefix

SCOPE = ArnScope("111122223333", "us-east-1", "aws")
RUN = Storage("arn:aws:s3:::runs-1a2b", "arn:aws:kms:us-east-1:111122223333:key/run")
STACK = "gpuyard/prod"

words = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
places = st.builds(
    ArnScope, st.from_regex(r"[0-9]{12}", fullmatch=True), st.sampled_from(["us-east-1", "cn-north-1"]), st.sampled_from(["aws", "aws-cn"])
)
keys = st.none() | words.map(lambda word: f"arn:aws:kms:eu-west-1:111122223333:key/{word}")
buckets = st.builds(Storage, words.map(lambda word: f"arn:aws:s3:::{word}"), keys)


@st.composite
def documents(draw: Any) -> list[list[Statement]]:
    """Generate the policies of all roles of a yard of any shape."""
    place, run, name = draw(places), draw(buckets), draw(words)
    reads, secrets = (
        draw(st.lists(buckets, max_size=3)),
        draw(st.lists(words.map(lambda word: place.arn("secretsmanager", word)), max_size=3)),
    )
    group, prefix = place.arn("logs", f"log-group:/gpuyard/{name}"), job_prefix(f"gpuyard/{name}")
    image = draw(
        st.sampled_from([None, "pytorch/pytorch@sha256:00", f"444455556666.dkr.ecr.{place.region}.amazonaws.com/{name}/x@sha256:00"])
    )
    arns = [place.arn("ec2", f"subnet/subnet-{name}")]
    model_group = place.arn("sagemaker", f"model-package-group/{name}")
    batch = draw(
        st.none() | st.just(BatchAccess([place.arn("batch", f"job-queue/{name}")], group, [f"arn:aws:iam::{place.account}:role/{name}"]))
    )
    trains = draw(
        st.none() | st.just(SageMakerAccess(f"arn:aws:iam::{place.account}:role/{name}", [name], ["sg-1"], ["ml.p5.48xlarge"], 0))
    )
    own = permissions.sagemaker_job(
        place, run, prefix, subnet_arns=arns, security_group_arns=arns, model_group_arn=model_group, image=image
    )
    return [
        stop_statements(place, f"gpuyard/{name}", draw(st.sampled_from([["batch"], ["batch", "vms"]]))),
        start_statements(place.arn("states", f"stateMachine:{name}")),
        permissions.node(place, draw(st.sampled_from([[], [group]]))),
        permissions.cluster_member(place.arn("ecs", f"cluster/AWSBatch-{name}-environment-0a1b2c3-uuid")),
        permissions.job(run, reads, secrets),
        permissions.execution(place, group, image),
        [*permissions.job(run, reads, secrets), *own],
        submitter(place, run, f"gpuyard/{name}", prefix, batch, trains),
    ]


def wild(document: Any) -> Iterator[tuple[str, str]]:
    """Return each (action or condition key, pattern with `*`) of a document, without the code under test."""
    for statement in document["Statement"]:
        for action in statement["Action"]:
            assert "*" not in action
            yield from ((action, resource) for resource in statement["Resource"] if "*" in resource or "?" in resource)
        for condition in statement.get("Condition", {}).values():
            for key, values in condition.items():
                yield from ((key, value) for value in ([values] if isinstance(values, str) else values) if "*" in value)


@given(documents())
def test_every_wildcard_of_a_policy_is_in_the_table(statements: list[list[Statement]]) -> None:
    for each in statements:
        document = policy_document(each)
        for action, pattern in wild(document):
            assert is_listed(pattern, [action])
        assert all(statement["Effect"] == "Allow" and statement["Resource"] for statement in document["Statement"])


def everything() -> list[Statement]:
    group = SCOPE.arn("logs", "log-group:/gpuyard/train")
    own = permissions.sagemaker_job(
        SCOPE,
        RUN,
        job_prefix(STACK),
        subnet_arns=["arn:a"],
        security_group_arns=["arn:b"],
        model_group_arn=f"{SCOPE.arn('sagemaker', 'model-package-group/g')}",
        image=None,
    )
    batch, trains = BatchAccess(["arn:q"], group, ["arn:r"]), SageMakerAccess("arn:r", ["subnet-1"], ["sg-1"], ["ml.p5.48xlarge"], 0)
    return [
        *stop_statements(SCOPE, STACK, ["batch", "vms"]),
        *permissions.node(SCOPE, [group]),
        *permissions.cluster_member(SCOPE.arn("ecs", "cluster/AWSBatch-l4-environment-0a1b2c3-uuid")),
        *permissions.job(RUN, [Storage("arn:aws:s3:::data", None)], ["arn:s"]),
        *permissions.execution(SCOPE, group, None),
        *own,
        *submitter(SCOPE, RUN, STACK, job_prefix(STACK), batch, trains),
    ]


def test_every_row_of_the_table_is_used() -> None:
    used = set(wild(policy_document_unlimited(everything())))
    trusts = [Trust(service=principal).document(SCOPE) for principal in PRINCIPALS]
    used |= {
        ("aws:SourceArn", entry["Condition"]["ArnLike"]["aws:SourceArn"])
        for trust in trusts
        for entry in trust["Statement"]
        if "Condition" in entry
    }
    for row in WILDCARDS:
        for action in row.actions:
            assert any(key == action and is_listed(pattern, [action]) for key, pattern in used), f"{action} on {row.pattern}"
    assert all(row.why and row.source.startswith("docs.aws.amazon.com/") for row in WILDCARDS)


def policy_document_unlimited(statements: list[Statement]) -> dict[str, Any]:
    """Return the statements as one document: all roles together exceed the size limit of one policy."""
    return {"Statement": [entry for statement in statements for entry in policy_document([statement])["Statement"]]}


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        (Statement(("s3:*",), ("arn:aws:s3:::a",), why="x"), "wildcards in actions are not allowed"),
        (Statement(("s3:GetObject",), ("*",), why="x"), "the wildcard is not in allowed_wildcards.py"),
        (Statement(("s3:DeleteObject",), ("arn:aws:s3:::a/*",), why="x"), "the wildcard is not in allowed_wildcards.py"),
        (Statement(("s3:PutObject",), ("arn:aws:s3:::*/gpuyard/runs/*",), why="x"), "the wildcard is not in allowed_wildcards.py"),
        (
            Statement(("iam:PassRole",), ("arn:aws:iam::111122223333:role/gpuyard-?",), why="x"),
            "the wildcard is not in allowed_wildcards.py",
        ),
        (Statement(("batch:DescribeJobs", "batch:SubmitJob"), ("*",), why="x"), "the wildcard is not in allowed_wildcards.py"),
        (Statement(("s3:ListBucket",), ("arn:aws:s3:::a",), {"StringLike": {"s3:prefix": ["gpuyard/*", "*"]}}, "x"), "s3:prefix"),
        (Statement(("s3:ListBucket",), ("arn:aws:s3:::a",)), "why"),
        (Statement((), ("arn:aws:s3:::a",), why="x"), "required"),
        (Statement(("s3:ListBucket",), tuple(f"arn:aws:s3:::{n:060}" for n in range(200)), why="x"), "10240"),
    ],
)
def test_statements_that_grant_too_much_are_refused(statement: Statement, part: str) -> None:
    with pytest.raises(PolicyError, match=part):
        policy_document([statement])


def test_a_policy_without_statements_is_refused() -> None:
    with pytest.raises(PolicyError, match="the policy has no statement"):
        policy_document([])


def test_jobs_cannot_write_targets_or_code_and_use_keys_only_through_s3() -> None:
    document = policy_document(permissions.job(RUN, [Storage("arn:aws:s3:::data", "arn:aws:kms:eu-west-1:444455556666:key/d")], []))
    by_action = {action: entry for entry in document["Statement"] for action in entry["Action"]}
    assert by_action["s3:PutObject"]["Resource"] == by_action["s3:DeleteObject"]["Resource"] == ["arn:aws:s3:::runs-1a2b/gpuyard/runs/*"]
    use = [entry for entry in document["Statement"] if "kms:Decrypt" in entry["Action"]]
    data = ["arn:aws:kms:eu-west-1:444455556666:key/d"]
    assert [(entry["Action"], entry["Resource"], entry["Condition"]) for entry in use] == [
        (["kms:Decrypt"], data, {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}),
        (["kms:Decrypt", "kms:GenerateDataKey"], [RUN.key_arn], {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}),
    ]
    assert "secretsmanager" not in json.dumps(document)


def test_describe_key_has_no_condition_on_a_grant() -> None:
    found = {action: statement.conditions for statement in everything() for action in statement.actions if action.startswith("kms:")}
    assert found["kms:CreateGrant"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    assert found["kms:DescribeKey"] == {}


def test_an_image_of_another_account_can_be_pulled_by_its_exact_repository() -> None:
    image = "444455556666.dkr.ecr.eu-west-1.amazonaws.com/team/train@sha256:" + "0" * 64
    resources = permissions.pull(SCOPE, image)[1].resources
    assert "arn:aws:ecr:eu-west-1:444455556666:repository/team/train" in resources
    assert permissions.pull(SCOPE, "pytorch/pytorch@sha256:00")[1].resources == permissions.pull(SCOPE, None)[1].resources


def test_every_action_exists_in_aws() -> None:
    """Most actions have the name of an API operation. `named_otherwise` lists the others."""
    session = botocore.session.get_session()
    named_otherwise = {
        *("ecs:Poll", "ecs:StartTelemetrySession", "iam:PassRole", "s3:ListBucket", "s3:ListMultipartUploadParts"),
        *("ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel"),
        *("ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"),
    }
    actions = {action for statement in everything() for action in statement.actions}
    unknown = set()
    for action in actions - named_otherwise:
        service, _, operation = action.partition(":")
        if operation not in session.get_service_model(service).operation_names:
            unknown.add(action)
    assert unknown == set()
    assert named_otherwise <= actions


ENDPOINT_OF: dict[str, set[str]] = {
    "ecr": {"ecr.api", "ecr.dkr"},
    "ecs": {"ecs", "ecs-agent", "ecs-telemetry"},
    "s3": {"s3"},
    "kms": set(),  # S3 calls it
}


def test_every_service_that_nodes_and_jobs_call_has_an_endpoint() -> None:
    """With `egress: endpoints` a node reaches no other service."""
    group = SCOPE.arn("logs", "log-group:/gpuyard/train")
    roles = [permissions.node(SCOPE, [group]), permissions.job(RUN, [], ["arn:s"]), permissions.execution(SCOPE, group, None)]
    services = {action.partition(":")[0] for role in roles for statement in role for action in statement.actions}
    wanted = {name for service in services for name in ENDPOINT_OF.get(service, {service})}
    assert wanted == {*INTERFACE, "s3"}


@pytest.mark.parametrize(
    ("region", "partition", "account"),
    [("us-east-1", "aws", "763104351884"), ("me-south-1", "aws", "217643126080"), ("cn-north-1", "aws-cn", "727897471807")],
)
def test_nodes_can_pull_the_images_of_the_table(region: str, partition: str, account: str) -> None:
    scope = ArnScope(SCOPE.account, region, partition)
    for service in ("batch", "sagemaker"):
        image = job_images.job_image(service, "x86_64")
        assert image is not None
        allowed = [resource for statement in permissions.node(scope) for resource in statement.resources]
        assert f"arn:{partition}:ecr:{region}:{account}:repository/{image.repository}" in allowed
    assert len(permissions.pull(ArnScope(SCOPE.account, "mars-1", "aws"), None)[1].resources) == 1
