"""Writes docs/aws-permissions.md: what each role of an AWS yard may do and why, and every wildcard with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gpuyard.components.aws import permissions
from gpuyard.components.aws.allowed_wildcards import WILDCARDS
from gpuyard.components.aws.flow_log import flow_log_statements
from gpuyard.components.aws.permissions import Storage
from gpuyard.components.aws.policy import Conditions, Place, Statement
from gpuyard.components.aws.submitter import BatchSide, SageMakerSide, submitter
from gpuyard.components.aws.trust import PRINCIPALS, Trust, provider_arn

FILE = Path(__file__).resolve().parents[1] / "docs" / "aws-permissions.md"
_PLACE = Place("ACCOUNT", "REGION", "aws")
_RUN = Storage("arn:aws:s3:::RUN-BUCKET", _PLACE.arn("kms", "key/RUN-KEY"))
_DATA = Storage("arn:aws:s3:::DATA-BUCKET", _PLACE.arn("kms", "key/DATA-KEY"))
_LOGS = _PLACE.arn("logs", "log-group:LOG-GROUP")
_PREFIX = "gpuyard-STACK-"
_ROLE = "arn:aws:iam::ACCOUNT:role"

_HEAD = """# What each role of an AWS yard may do

Written by `make docs` from the code that makes the policies; a test holds this page to it. Words in capitals
stand for what a yard made or was given. A role may do what its table says and nothing else: there are no other policies on it,
except where a user's own program adds one. Actions are named one by one; a `*` in a resource is in the last table with its reason,
and a policy with any other `*` is refused before it leaves the program (`components/aws/policy.py`).

What to know besides:

- **Who may submit may run any container on the pool's machines**, and a container can be given the machine's own folders. Hold the
  submitter's role, and review of what it submits, to be as much as the machine's role, not less.
- **The provider for CI tokens is the account's, so no yard makes it.** Once per account, by whoever administers it:
  `aws iam create-open-id-connect-provider --url https://token.actions.githubusercontent.com --client-id-list sts.amazonaws.com`.
  Without it the submitter's role exists and nobody can take it.
- **Secrets under a key of your own** need one thing more: let the job's role use that key, in the key's policy. The default key of
  Secrets Manager needs nothing.
- **Adopted buckets**: a bucket under a key of your own needs `Bucket.adopt(..., key_arn=...)`, else jobs can list but not read it; a
  bucket of another account also needs a policy of its own that lets the roles in.
- **A run bucket serves one stack**: a second stack's `targets.json` would overwrite the first's.
- **Batch makes machines with its service-linked role** AWSServiceRoleForBatch, which AWS makes and keeps.
"""


class _Role(NamedTuple):
    title: str
    taken_by: str
    statements: Sequence[Statement]


def text() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_trust(), *(line for role in _roles() for line in _section(role)), *_wildcards()])


def _roles() -> list[_Role]:
    secrets = [_PLACE.arn("secretsmanager", "secret:SECRET-XXXXXX")]
    job = permissions.job(_RUN, [_DATA], secrets)
    training = permissions.sagemaker_job(
        _PLACE,
        _RUN,
        _PREFIX,
        subnet_arns=[_PLACE.arn("ec2", "subnet/SUBNET")],
        security_group_arns=[_PLACE.arn("ec2", "security-group/NODES")],
        model_group_arn=_PLACE.arn("sagemaker", "model-package-group/MODELS"),
        image=None,
    )
    batch = BatchSide([_PLACE.arn("batch", "job-queue/QUEUE")], _LOGS, [f"{_ROLE}/EXECUTION", f"{_ROLE}/JOB"])
    trains = SageMakerSide(f"{_ROLE}/TRAINING", ["SUBNET"], ["NODES"])
    return [
        _Role("Machine of a `batch` pool", "ec2.amazonaws.com", permissions.node(_PLACE, [_LOGS])),
        _Role("Machine of a `vms` pool: the job's rights, because whatever launcher runs there has this role", "ec2.amazonaws.com", job),
        _Role("Job on Batch", "ecs-tasks.amazonaws.com", job),
        _Role("Execution: what starts a job's container on Batch", "ecs-tasks.amazonaws.com", permissions.execution(_PLACE, _LOGS, None)),
        _Role("Training job on SageMaker", "sagemaker.amazonaws.com", [*job, *training]),
        _Role("Flow logs of the network", "vpc-flow-logs.amazonaws.com", flow_log_statements(_PLACE, "FLOW-LOGS")),
        _Role("Submitter: CI", "CI subjects", submitter(_PLACE, _RUN, "PROJECT/STACK", _PREFIX, batch, trains)),
    ]


def _trust() -> Iterator[str]:
    yield "## Who may take a role\n"
    yield "| who | only if |"
    yield "|---|---|"
    for principal in PRINCIPALS:
        [entry] = Trust(service=principal).document(_PLACE)["Statement"]
        yield f"| `{principal}` | {_conditions(entry.get('Condition', {})) or 'the service tells no source; a machine with the profile'} |"
    for entry in Trust(subjects=("repo:ORG/REPO:ref:refs/heads/main", "repo:ORG/REPO:ref:refs/tags/*")).document(_PLACE)["Statement"]:
        yield f"| tokens of `{provider_arn(_PLACE)}` | {_conditions(entry['Condition'])} |"
    yield ""


def _section(role: _Role) -> Iterator[str]:
    yield f"## {role.title}\n"
    yield f"Taken by: {role.taken_by}.\n"
    yield "| may | on | only if | why |"
    yield "|---|---|---|---|"
    for statement in role.statements:
        resources = "<br>".join(f"`{resource}`" for resource in statement.resources)
        yield f"| {_words(statement.actions)} | {resources} | {_conditions(statement.conditions)} | {statement.why} |"
    yield ""


def _wildcards() -> Iterator[str]:
    yield "## Every `*`, and why\n"
    yield "| pattern | for | why | source |"
    yield "|---|---|---|---|"
    for row in WILDCARDS:
        yield f"| `{row.pattern}` | {_words(row.actions)} | {row.why} | [page](https://{row.source}) |"
    yield ""


def _words(words: Sequence[str]) -> str:
    return "<br>".join(f"`{word}`" for word in words)


def _conditions(conditions: Conditions) -> str:
    lines = [
        f"`{key}` {operator} `{values if isinstance(values, str) else json.dumps(list(values))}`"
        for operator, keys in conditions.items()
        for key, values in keys.items()
    ]
    return "<br>".join(lines)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
