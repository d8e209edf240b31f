"""Check a job's labels against each cloud's rules and turn them into the tags or labels of a request."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...problems import Problem
from ..errors import UsageError
from ..run import Run

__all__ = ["aws_tags", "azure_tags", "gcp_label_value", "gcp_labels"]


@dataclass(frozen=True)
class _Rules:
    """The rules of one cloud for the keys and values of tags."""

    noun: str
    owner: str  # owner of the reserved keys
    cloud: str
    key: re.Pattern[str]
    value: re.Pattern[str]
    allowed: str
    reserved: tuple[str, ...]  # prefixes of keys, in lower case
    most: int  # largest number of tags that a job may set


_AWS = _Rules(
    noun="tag",
    owner="gpuyard or AWS",
    cloud="AWS",
    key=re.compile(r"[\w .:/=+@-]{1,128}"),
    value=re.compile(r"[\w .:/=+@-]{0,256}"),
    allowed="letters, digits, spaces and _ . : / = + - @; at most 128 characters in the key, 256 in the value",
    reserved=("aws:",),
    most=40,
)
_GCP = _Rules(
    noun="label",
    owner="gpuyard or Google",
    cloud="GCP",
    key=re.compile(r"[a-z][a-z0-9_-]{0,62}"),
    value=re.compile(r"[a-z0-9_-]{0,63}"),
    allowed="lower-case letters, digits, _ and -; at most 63 characters each; the key begins with a letter",
    reserved=("gpuyard_", "goog"),
    most=60,
)
_AZURE = _Rules(
    noun="tag",
    owner="gpuyard",
    cloud="Azure ML",
    key=re.compile(r".{1,100}", re.DOTALL),
    value=re.compile(r".{0,256}", re.DOTALL),
    allowed="at most 100 characters in the key, 256 in the value",
    reserved=(),
    most=40,
)


def aws_tags(run: Run) -> dict[str, str]:
    """Return the AWS tags of a run's resources. IAM policies depend on the tag of the stack. Raises UsageError for invalid labels."""
    return _checked(run, _AWS, _tags(run))


def azure_tags(run: Run) -> dict[str, str]:
    """Return the tags of an Azure ML job. Raises UsageError for invalid labels."""
    return _checked(run, _AZURE, _tags(run))


def gcp_labels(run: Run) -> dict[str, str]:
    """Return the labels of a custom job. gpuyard finds a submission's job by them. Raises UsageError for invalid labels."""
    own = {
        "gpuyard_run": gcp_label_value(run.id),
        "gpuyard_submission": run.ordinal,
        "gpuyard_stack": gcp_label_value(run.target.stack),
        "gpuyard_pool": gcp_label_value(run.target.pool),
    }
    return _checked(run, _GCP, own)


def gcp_label_value(text: str) -> str:
    """Convert a text to a label's value. Invalid characters become dashes. Only the last 63 characters stay: the digest is at the end."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[-63:].lstrip("-_")


def _tags(run: Run) -> dict[str, str]:
    return {"stack": run.target.stack, "pool": run.target.pool, "run": run.id, "limit": run.limit_reason}


def _checked(run: Run, rules: _Rules, own: dict[str, str]) -> dict[str, str]:
    labels, problems = run.spec.labels, []
    for key, value in labels.items():
        if key in own or key.lower().startswith(rules.reserved):
            problems.append(Problem(f"labels.{key}", f"reserved for {rules.owner}", fix="choose another name"))
        elif not (rules.key.fullmatch(key) and rules.value.fullmatch(value)):
            problems.append(Problem(f"labels.{key}", f"not a valid {rules.noun}", f"{key}={value}", rules.allowed))
    if len(labels) > rules.most:
        problems.append(Problem("labels", "too many", str(len(labels)), f"<= {rules.most}"))
    if problems:
        raise UsageError(f"job '{run.spec.name}' has labels that are not valid {rules.noun}s on {rules.cloud}", problems)
    return {**labels, **own}
