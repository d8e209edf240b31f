"""Workload identity federation for CI pipelines: a pipeline exchanges its OIDC token for a token of the submitter's service account."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pulumi
from pulumi_gcp import iam, serviceaccount

from ...problems import Problem
from ..base import after, this_stack
from ..validation.submitters import ISSUER
from .identity import Identity
from .project import GcpComponent, ProjectLookup
from .roles import ACT_AS, FEDERATED

__all__ = ["make_submitter", "members", "pool_id", "token_condition", "token_condition_problems"]

_DIGEST = 16
_SUBJECT_LIMIT = 127  # bytes of google.subject: cloud.google.com/iam/docs/workload-identity-federation, read on 2026-12-01
_CONDITION_LIMIT = 4096  # characters: cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers


def make_submitter(
    parent: GcpComponent, subjects: Sequence[str], job: Identity, project: ProjectLookup
) -> tuple[Identity, pulumi.Output[str]]:
    """Make the submitter's service account, and the workload identity provider through which pipelines use it. Return both.

    The submitter may run jobs as `job` and as no other service account.
    """
    identity = Identity(
        parent.child_name("submitter"),
        purpose="pipelines that submit jobs",
        project_roles=("submit-jobs",),
        project=project,
        opts=parent.child_options(),
    )
    serviceaccount.IAMMember(
        parent.child_name("submitter-acts-as-job"),
        service_account_id=job.id,
        role=ACT_AS,
        member=identity.member,
        opts=parent.child_options(),
    )
    pool = iam.WorkloadIdentityPool(
        parent.child_name("pipelines"),
        workload_identity_pool_id=identity.unique_id.apply(pool_id),
        display_name="gpuyard pipelines",
        description=f"pipelines that submit jobs to {this_stack()}",
        opts=parent.child_options(),
    )
    provider = iam.WorkloadIdentityPoolProvider(
        parent.child_name("pipelines-github"),
        workload_identity_pool_id=pool.workload_identity_pool_id,
        workload_identity_pool_provider_id="github",
        attribute_mapping={"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"},
        attribute_condition=token_condition(subjects),
        oidc={"issuer_uri": f"https://{ISSUER}"},
        opts=parent.child_options(),
    )
    grants = [
        serviceaccount.IAMMember(
            parent.child_name(f"pipelines-{number}"),
            service_account_id=identity.id,
            role=FEDERATED,
            member=pool.name.apply(lambda pool_name, member=member: f"{member[0]}://iam.googleapis.com/{pool_name}/{member[1]}"),
            opts=parent.child_options(),
        )
        for number, member in enumerate(members(subjects))
    ]
    return identity, after(provider.name, [grant.id for grant in grants])


def pool_id(account: str) -> str:
    """Return the id of the workload identity pool, made from the unique id of the submitter's account.

    Google reserves the id of a deleted pool for 30 days. A recreated yard has a new account, so it gets a new id.

    >>> pool_id("103212345678901234567")
    'gpuyard-b20af4f9ac3fe4c8'
    """
    return f"gpuyard-{hashlib.sha256(account.encode()).hexdigest()[:_DIGEST]}"


def token_condition(subjects: Sequence[str]) -> str:
    """Return the provider's condition in CEL, which accepts only tokens with these subjects. A `*` at the end matches any text.

    >>> token_condition(["repo:acme/nlp:ref:refs/heads/main", "repo:acme/nlp:ref:refs/tags/*"])
    'assertion.sub in ["repo:acme/nlp:ref:refs/heads/main"] || assertion.sub.startsWith("repo:acme/nlp:ref:refs/tags/")'
    """
    exact = sorted(subject for subject in subjects if not subject.endswith("*"))
    parts = [f"assertion.sub in {json.dumps(exact)}"] if exact else []
    parts += [f"assertion.sub.startsWith({json.dumps(subject[:-1])})" for subject in sorted(subjects) if subject.endswith("*")]
    return " || ".join(parts)


def token_condition_problems(subjects: Sequence[str]) -> list[Problem]:
    """Return the problems of subjects whose tokens, or whose token condition, are longer than Google accepts."""
    shorter = "shorten the name of the branch or environment, or end the subject in *"
    long = [
        Problem(f"submitters.{index}", "Google refuses tokens with this subject", f"{size} bytes", f"at most {_SUBJECT_LIMIT}", shorter)
        for index, size in enumerate(len(subject.encode()) for subject in subjects)
        if size > _SUBJECT_LIMIT
    ]
    length = len(token_condition(subjects))
    if length <= _CONDITION_LIMIT:
        return long
    what, got = f"together they make a token condition of {length} characters", f"{len(subjects)} subjects"
    fix = "replace several subjects by one with * at its end, such as repo:ORG/REPOSITORY:*"
    return [*long, Problem("submitters", what, got, f"a condition of at most {_CONDITION_LIMIT} characters", fix)]


def members(subjects: Sequence[str]) -> list[tuple[str, str]]:
    """Return the IAM members that may become the submitter, as kind and path.

    An exact subject is one member. For a subject with `*` at its end, the member is the whole repository; the token condition limits it.

    >>> members(["repo:acme/nlp:ref:refs/heads/main", "repo:acme/llm:ref:refs/tags/*"])
    [('principal', 'subject/repo:acme/nlp:ref:refs/heads/main'), ('principalSet', 'attribute.repository/acme/llm')]
    """
    exact = sorted({subject for subject in subjects if not subject.endswith("*")})
    repositories = sorted({subject.split(":")[1] for subject in subjects if subject.endswith("*")})
    return [
        *(("principal", f"subject/{subject}") for subject in exact),
        *(("principalSet", f"attribute.repository/{repository}") for repository in repositories),
    ]
