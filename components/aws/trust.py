"""Who may take a role: one service of AWS, or the tokens of named CI subjects. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from ..validation.submitters import ISSUER
from .policy import Place, trust_document

_AUDIENCE = "sts.amazonaws.com"

# Principal -> the source ARN it sends when it takes a role, as a format; None: it sends none.
PRINCIPALS: Mapping[str, str | None] = MappingProxyType(
    {
        # no source in the request: docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html; only machines with the profile get it
        "ec2.amazonaws.com": None,
        # docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
        "ecs-tasks.amazonaws.com": "arn:{partition}:ecs:{region}:{account}:*",
        # docs.aws.amazon.com/sagemaker/latest/dg/security-confused-deputy-prevention.html
        "sagemaker.amazonaws.com": "arn:{partition}:sagemaker:{region}:{account}:*",
        # docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
        "vpc-flow-logs.amazonaws.com": "arn:{partition}:ec2:{region}:{account}:vpc-flow-log/*",
        # docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html: the group, not the schedule
        "scheduler.amazonaws.com": "arn:{partition}:scheduler:{region}:{account}:schedule-group/default",
    }
)


@dataclass(frozen=True)
class Trust:
    """Who may take a role. Exactly one of the two: a service principal of PRINCIPALS, or CI subjects."""

    service: str | None = None
    """Such as ec2.amazonaws.com. Where the service tells on whose behalf it asks, that is held to this account and region."""
    subjects: tuple[str, ...] = ()
    """Subjects of GitHub's OIDC tokens, repo:org/name:ref:refs/heads/main. The account's provider for them must exist."""

    def document(self, place: Place) -> dict[str, Any]:
        """The trust policy."""
        if (self.service is None) == (not self.subjects):
            raise ValueError(f"{self}: exactly one of service and subjects")
        return trust_document(_web(self.subjects, place) if self.service is None else [_service(self.service, place)])


def provider_arn(place: Place) -> str:
    """The account's OIDC provider for GitHub: one for the whole account, so never made by a yard."""
    return f"arn:{place.partition}:iam::{place.account}:oidc-provider/{ISSUER}"


def _service(principal: str, place: Place) -> dict[str, Any]:
    source = PRINCIPALS[principal]
    entry: dict[str, Any] = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": principal}}
    if source is not None:
        arn = source.format(**asdict(place))
        entry["Condition"] = {"StringEquals": {"aws:SourceAccount": place.account}, "ArnLike": {"aws:SourceArn": arn}}
    return entry


def _web(subjects: Sequence[str], place: Place) -> list[dict[str, Any]]:
    """Exact subjects and those with a `*` in statements of their own: conditions of one statement must all hold."""
    exact = sorted(subject for subject in subjects if not subject.endswith("*"))
    open_ended = sorted(subject for subject in subjects if subject.endswith("*"))
    entries = []
    for operator, found in (("StringEquals", exact), ("StringLike", open_ended)):
        if found:
            condition: dict[str, dict[str, Any]] = {"StringEquals": {f"{ISSUER}:aud": _AUDIENCE}}
            condition.setdefault(operator, {})[f"{ISSUER}:sub"] = found
            entries.append(
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Principal": {"Federated": provider_arn(place)},
                    "Condition": condition,
                }
            )
    return entries
