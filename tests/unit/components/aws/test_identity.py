"""AWS's Identity: trust policies and resources, in an update and in a preview with unknown outputs."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.aws.identity import Identity
from gpuyard.components.aws.policy import ArnScope, Statement
from gpuyard.components.aws.trust import PEOPLE, PRINCIPALS, Trust, provider_arn
from gpuyard.components.validation.submitters import subject_problems

SCOPE = ArnScope("111122223333", "us-east-1", "aws")
STATEMENTS = [Statement(("s3:ListBucket",), ("arn:aws:s3:::runs",), why="to test")]
ECS = "service-role/AmazonEC2ContainerServiceforEC2Role"


def program() -> None:
    nodes = Identity(
        "nodes",
        trust=Trust(service="ec2.amazonaws.com"),
        statements=STATEMENTS,
        managed=[ECS],
        instance_profile=True,
        tags={"owner": "me"},
    )
    late = pulumi.Output.from_input("arn:aws:s3:::late").apply(lambda arn: [Statement(("s3:ListBucket",), (arn,), why="to test")])
    jobs = Identity("jobs", trust=Trust(service="ecs-tasks.amazonaws.com"), statements=late)
    pulumi.export("profile", nodes.instance_profile_arn)
    pulumi.export("none", jobs.instance_profile_arn)
    pulumi.export("role", nodes.role_name)


@pytest.mark.parametrize("preview", [False, True])
def test_tokens_and_child_names_do_not_change(record: Any, preview: bool) -> None:
    recorded = record(program, preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == [
        ("aws:iam/instanceProfile:InstanceProfile", "nodes-profile"),
        ("aws:iam/role:Role", "jobs-role"),
        ("aws:iam/role:Role", "nodes-role"),
        ("aws:iam/rolePolicy:RolePolicy", "jobs-policy"),
        ("aws:iam/rolePolicy:RolePolicy", "nodes-policy"),
        ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "nodes-AmazonEC2ContainerServiceforEC2Role"),
        ("gpuyard-aws:index:Identity", "jobs"),
        ("gpuyard-aws:index:Identity", "nodes"),
    ]
    outputs = {urn.rpartition("::")[2]: set(outputs) for urn, outputs in recorded.component_outputs.items() if "gpuyard-aws" in urn}
    assert outputs == {"jobs": {"role_arn", "role_name"}, "nodes": {"role_arn", "role_name", "instance_profile_arn"}}


def test_a_resource_that_uses_a_role_waits_for_its_policy(record: Any) -> None:
    recorded = record(program)
    needed = recorded.one("aws:iam/instanceProfile:InstanceProfile", "nodes-profile").dependencies
    assert {urn.rpartition("::")[2] for urn in needed} == {"nodes-role", "nodes-policy", "nodes-AmazonEC2ContainerServiceforEC2Role"}
    assert recorded.exports["none"] is None
    assert recorded.exports["profile"].startswith("arn:aws:iam:")
    assert record(program, preview=True).unknown == {"profile", "role"}


def test_policy_documents_and_tags_of_a_role(record: Any) -> None:
    recorded = record(program)
    role = recorded.inputs("aws:iam/role:Role", "jobs-role")
    assert json.loads(role["assumeRolePolicy"])["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "ecs-tasks.amazonaws.com"},
            "Condition": {
                "StringEquals": {"aws:SourceAccount": "111122223333"},
                "ArnLike": {"aws:SourceArn": "arn:aws:ecs:us-east-1:111122223333:*"},
            },
        }
    ]
    assert recorded.inputs("aws:iam/role:Role", "nodes-role")["tags"] == {"owner": "me", "stack": "gpuyard/local", "Name": "nodes-role"}
    policy = json.loads(recorded.inputs("aws:iam/rolePolicy:RolePolicy", "jobs-policy")["policy"])
    assert policy["Statement"] == [{"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::late"]}]
    attached = recorded.inputs("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "nodes-AmazonEC2ContainerServiceforEC2Role")
    assert attached["policyArn"] == f"arn:aws:iam::aws:policy/{ECS}"


@pytest.mark.parametrize("principal", sorted(PRINCIPALS))
def test_a_service_with_a_source_arn_is_limited_to_this_account(principal: str) -> None:
    [entry] = Trust(service=principal).document(SCOPE)["Statement"]
    assert entry["Principal"] == {"Service": principal}
    if principal == "ec2.amazonaws.com":
        assert "Condition" not in entry
    else:
        assert entry["Condition"]["StringEquals"] == {"aws:SourceAccount": SCOPE.account}
        assert f":{SCOPE.account}:" in entry["Condition"]["ArnLike"]["aws:SourceArn"]


def test_exact_subjects_and_subjects_with_a_star_have_separate_statements() -> None:
    exact, open_ended = "repo:acme/nlp:ref:refs/heads/main", "repo:acme/nlp:ref:refs/tags/*"
    document = Trust(subjects=(open_ended, exact)).document(SCOPE)
    audience = {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}
    subject = "token.actions.githubusercontent.com:sub"
    assert [entry["Condition"] for entry in document["Statement"]] == [
        {"StringEquals": {**audience, subject: [exact]}},
        {"StringEquals": audience, "StringLike": {subject: [open_ended]}},
    ]
    assert {entry["Action"] for entry in document["Statement"]} == {"sts:AssumeRoleWithWebIdentity"}
    assert {entry["Principal"]["Federated"] for entry in document["Statement"]} == {provider_arn(SCOPE)}
    assert provider_arn(SCOPE) == "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"


def test_people_assume_the_role_by_their_own_arn() -> None:
    arns = (
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:iam::444455556666:role/aws-reserved/sso.amazonaws.com/eu-west-1/Researchers_0a1b",
    )
    pipeline, people = Trust(subjects=(*arns, "repo:acme/nlp:ref:refs/heads/main")).document(SCOPE)["Statement"]
    assert pipeline["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert people == {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": sorted(arns)}}


@pytest.mark.parametrize(
    "principal",
    [
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::*:role/x",
        "arn:aws:iam::111122223333:role/*",
        "arn:aws:iam::111122223333:group/x",
        "alice",
    ],
)
def test_a_whole_account_a_group_or_a_wildcard_is_no_submitter(principal: str) -> None:
    [problem] = subject_problems([principal], PEOPLE)
    assert str(problem).startswith(
        f"submitters.0: not a person, group or pipeline, got {principal!r}, allowed: the ARN of an IAM role or user"
    )


@pytest.mark.parametrize(
    "subject",
    ["*", "", "repo:*", "repo:acme/*", "repo:acme/*:ref:refs/heads/main", "repo:*/nlp:*", "repo:acme/nlp:*:x", "acme/nlp", "repo:a/b:x?"],
)
def test_subjects_that_admit_other_organizations_are_refused(subject: str, record: Any) -> None:
    with pytest.raises(pulumi.RunError, match=r"submitters\.0: not a .*, got .*repo:ORG/REPOSITORY") as caught:
        record(lambda: Identity("ci", trust=Trust(subjects=(subject,) if subject else ("",)), statements=STATEMENTS))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("part", ["trust", "policy"])
def test_a_policy_that_iam_rejects_is_reported_without_a_traceback(part: str, record: Any) -> None:
    names = [f"repo:acme/nlp-{number}:ref:refs/heads/main" for number in range(60)]
    secrets = [Statement(("secretsmanager:GetSecretValue",), (f"arn:{number:050}",), why="x") for number in range(100)]
    trust = Trust(subjects=tuple(names)) if part == "trust" else Trust(service="ec2.amazonaws.com")
    with pytest.raises(pulumi.RunError, match=r"Identity ci: its policy .* too long, got .* characters, .*fewer buckets"):
        record(lambda: Identity("ci", trust=trust, statements=STATEMENTS if part == "trust" else secrets))


@given(st.text(alphabet="repo:/*?ab ", max_size=24))
def test_an_accepted_subject_names_one_repository(subject: str) -> None:
    if not subject_problems([subject], PEOPLE) and subject.startswith("repo:"):
        kind, repository, rest = subject.split(":", 2)
        assert kind == "repo"
        assert repository.count("/") == 1
        assert "*" not in repository + rest[:-1]


@pytest.mark.parametrize("trust", [Trust(), Trust(service="ec2.amazonaws.com", subjects=("repo:a/b:c",))])
def test_a_role_is_for_a_service_or_for_ci(trust: Trust) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        trust.document(SCOPE)
