"""Trust policies of roles: one AWS service, or named submitters (tokens of CI subjects, IAM roles and users), may assume a role."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

from ...plain_data import PlainDict
from ..validation.submitters import ISSUER, People, people_of, pipelines_of
from .policy import ArnScope, trust_document

__all__ = ["PEOPLE", "PRINCIPALS", "Trust", "provider_arn"]

_AUDIENCE = "sts.amazonaws.com"
PEOPLE = People(
    # docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html: no groups, and no wildcard inside an ARN
    re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[\w+=,.@/-]+"),
    "the ARN of an IAM role or user, arn:aws:iam::ACCOUNT:role/NAME",
)

# Principal -> format of the source ARN that it sends when it assumes a role. None: it sends no source ARN.
PRINCIPALS: Mapping[str, str | None] = MappingProxyType(
    {
        # no source in the request: docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
        # only machines with the instance profile get the role
        "ec2.amazonaws.com": None,
        # docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
        "ecs-tasks.amazonaws.com": "arn:{partition}:ecs:{region}:{account}:*",
        # docs.aws.amazon.com/sagemaker/latest/dg/security-confused-deputy-prevention.html
        "sagemaker.amazonaws.com": "arn:{partition}:sagemaker:{region}:{account}:*",
        # docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
        "vpc-flow-logs.amazonaws.com": "arn:{partition}:ec2:{region}:{account}:vpc-flow-log/*",
        # docs.aws.amazon.com/eventbridge/latest/userguide/cross-service-confused-deputy-prevention.html
        "events.amazonaws.com": "arn:{partition}:events:{region}:{account}:rule/*",
        # docs.aws.amazon.com/step-functions/latest/dg/procedure-create-iam-role.html
        "states.amazonaws.com": "arn:{partition}:states:{region}:{account}:stateMachine:*",
        # docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html: the group, not the schedule
        "scheduler.amazonaws.com": "arn:{partition}:scheduler:{region}:{account}:schedule-group/default",
    }
)


@dataclass(frozen=True)
class Trust:
    """The principals that may assume a role: either a service of PRINCIPALS or submitters."""

    service: str | None = None
    """Principal of the service, such as ec2.amazonaws.com. A source ARN that the service sends must be of this account and region."""
    subjects: tuple[str, ...] = ()
    """Submitters: ARNs of IAM roles and users, and subjects of GitHub's OIDC tokens, repo:org/name:ref:refs/heads/main. For subjects the
    account's provider must exist."""

    def document(self, scope: ArnScope) -> PlainDict:
        """Return the trust policy."""
        if (self.service is None) == (not self.subjects):
            raise ValueError(f"{self}: exactly one of service and subjects is required")
        if self.service is not None:
            return trust_document([_service(self.service, scope)])
        return trust_document([*_web(pipelines_of(self.subjects), scope), *_people(people_of(self.subjects))])


def provider_arn(scope: ArnScope) -> str:
    """Return the ARN of the account's OIDC provider for GitHub. An account has only one, so a yard never creates it."""
    return f"arn:{scope.partition}:iam::{scope.account}:oidc-provider/{ISSUER}"


def _service(principal: str, scope: ArnScope) -> PlainDict:
    source = PRINCIPALS[principal]
    entry: PlainDict = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": principal}}
    if source is not None:
        arn = source.format(**asdict(scope))
        entry["Condition"] = {"StringEquals": {"aws:SourceAccount": scope.account}, "ArnLike": {"aws:SourceArn": arn}}
    return entry


def _web(subjects: Sequence[str], scope: ArnScope) -> list[PlainDict]:
    """Return separate statements for exact subjects and for subjects with `*`, because all conditions of one statement must match."""
    exact = sorted(subject for subject in subjects if not subject.endswith("*"))
    open_ended = sorted(subject for subject in subjects if subject.endswith("*"))
    entries = []
    for operator, found in (("StringEquals", exact), ("StringLike", open_ended)):
        if found:
            condition: dict[str, PlainDict] = {"StringEquals": {f"{ISSUER}:aud": _AUDIENCE}}
            condition.setdefault(operator, {})[f"{ISSUER}:sub"] = found
            entries.append(
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Principal": {"Federated": provider_arn(scope)},
                    "Condition": condition,
                }
            )
    return entries


def _people(arns: Sequence[str]) -> list[PlainDict]:
    """Return a statement that lets these roles and users assume the role. Empty without any."""
    return [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": sorted(arns)}}] if arns else []
