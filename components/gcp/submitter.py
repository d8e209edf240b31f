"""The submitter's service account. People impersonate it; a pipeline exchanges its OIDC token for a token of it (workload identity)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pulumi
from pulumi_gcp import iam, serviceaccount

from ...problems import Problem
from ..base import after, this_stack
from ..validation.submitters import ISSUER, People, people_of, pipelines_of, subject_problems
from .identity import Identity
from .project import GcpComponent, ProjectLookup
from .roles import ACT_AS, FEDERATED, IMPERSONATE

__all__ = ["make_submitter", "members", "pool_id", "submitter_problems", "token_condition"]

_DIGEST = 16
PEOPLE = People(
    re.compile(r"(user|group|serviceAccount):[^@\s*]+@[^@\s*]+"),  # cloud.google.com/iam/docs/principal-identifiers
    "user:NAME@DOMAIN, group:NAME@DOMAIN or serviceAccount:NAME@DOMAIN",
)
_SUBJECT_LIMIT = 127  # bytes of google.subject: cloud.google.com/iam/docs/workload-identity-federation, read on 2026-12-01
_CONDITION_LIMIT = 4096  # characters: cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers


def make_submitter(
    parent: GcpComponent, submitters: Sequence[str], job: Identity, project: ProjectLookup, ids: Mapping[str, int]
) -> tuple[Identity, pulumi.Output[str] | None]:
    """Make the submitter's service account, which may run jobs as `job` and as no other service account.

    `ids`: ids of repositories, by subject. Return the account, and the name of the workload identity provider through which pipelines use
    it; None without pipelines.
    """
    identity = Identity(
        parent.child_name("submitter"),
        purpose="people and pipelines that submit jobs",
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
    for member in people_of(submitters):
        serviceaccount.IAMMember(
            parent.child_name(f"person-{hashlib.sha256(member.encode()).hexdigest()[:8]}"),
            service_account_id=identity.id,
            role=IMPERSONATE,
            member=member,
            opts=parent.child_options(),
        )
    subjects = pipelines_of(submitters)
    return identity, _federate(parent, subjects, identity, ids) if subjects else None


def _federate(parent: GcpComponent, subjects: Sequence[str], identity: Identity, ids: Mapping[str, int]) -> pulumi.Output[str]:
    """Let pipelines with these subjects become the submitter. Return the name of the workload identity provider."""
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
        attribute_condition=token_condition(subjects, ids),
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
    return after(provider.name, [grant.id for grant in grants])


def pool_id(account: str) -> str:
    """Return the id of the workload identity pool, made from the unique id of the submitter's account.

    Google reserves the id of a deleted pool for 30 days. A recreated yard has a new account, so it gets a new id.

    >>> pool_id("103212345678901234567")
    'gpuyard-b20af4f9ac3fe4c8'
    """
    return f"gpuyard-{hashlib.sha256(account.encode()).hexdigest()[:_DIGEST]}"


def token_condition(subjects: Sequence[str], ids: Mapping[str, int] = MappingProxyType({})) -> str:
    """Return the provider's condition in CEL, which accepts only tokens with these subjects. A `*` at the end matches any text.

    `ids`: id of the repository, by subject. A deleted repository's name can belong to somebody else later, its id cannot:
    cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines, "Define an attribute condition" (2026-12-01).

    >>> token_condition(["repo:acme/nlp:ref:refs/heads/main", "repo:acme/nlp:ref:refs/tags/*"])
    'assertion.sub in ["repo:acme/nlp:ref:refs/heads/main"] || assertion.sub.startsWith("repo:acme/nlp:ref:refs/tags/")'
    >>> token_condition(["repo:acme/nlp:environment:prod"], {"repo:acme/nlp:environment:prod": 42})
    '(assertion.sub == "repo:acme/nlp:environment:prod" && assertion.repository_id == "42")'
    """
    exact = sorted(subject for subject in subjects if not subject.endswith("*") and subject not in ids)
    parts = [f"assertion.sub in {json.dumps(exact)}"] if exact else []
    parts += [_match(subject) for subject in sorted(subjects) if subject.endswith("*") and subject not in ids]
    parts += [f'({_match(subject)} && assertion.repository_id == "{ids[subject]}")' for subject in sorted(subjects) if subject in ids]
    return " || ".join(parts)


def _match(subject: str) -> str:
    if subject.endswith("*"):
        return f"assertion.sub.startsWith({json.dumps(subject[:-1])})"
    return f"assertion.sub == {json.dumps(subject)}"


def submitter_problems(subjects: Sequence[str]) -> list[Problem]:
    """Return the problems of submitters, also of subjects whose tokens, or whose token condition, are longer than Google accepts."""
    shorter = "shorten the name of the branch or environment, or end the subject in *"
    pipelines = pipelines_of(subjects)
    found = subject_problems(subjects, PEOPLE)
    found += [
        Problem(f"submitters.{index}", "Google refuses tokens with this subject", f"{size} bytes", f"at most {_SUBJECT_LIMIT}", shorter)
        for index, size in enumerate(len(subject.encode()) for subject in subjects)
        if size > _SUBJECT_LIMIT and subjects[index] in pipelines
    ]
    length = len(token_condition(pipelines))
    if length <= _CONDITION_LIMIT:
        return found
    what, got = f"together they make a token condition of {length} characters", f"{len(pipelines)} subjects"
    fix = "replace several subjects by one with * at its end, such as repo:ORG/REPOSITORY:*"
    return [*found, Problem("submitters", what, got, f"a condition of at most {_CONDITION_LIMIT} characters", fix)]


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
