"""The settings of a stack: the keys `gpuyard:…` of Pulumi.<stack>.yaml as one validated model, with all errors at once."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError

from gpuyard.components.registry import REQUIRED_KEYS
from gpuyard.components.spec import BucketSpec, Name, NetworkSpec, Spec, WaiverSpec, YardSpec, in_cloud
from gpuyard.components.validation.buckets import ExistingBucket
from gpuyard.components.validation.submitters import open_subject_problems
from gpuyard.plain_data import PlainDict, PlainMapping
from gpuyard.problems import Problem, problems_from, show
from gpuyard.training_jobs.errors import UsageError

__all__ = ["NAMESPACE", "ExistingNetwork", "StackBucket", "StackNetwork", "StackSettings", "in_namespace", "load"]

NAMESPACE = "gpuyard:"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_STRINGS = frozenset({"cloud", "owner", "expires"})


class StackBucket(BucketSpec):
    """A bucket in a stack file: new or existing, with the access of jobs."""

    jobs: Literal["read", "write"] | None = Field(
        None, description="access of jobs: read, or write (exactly one bucket, the run bucket); default: none"
    )
    existing: str | None = Field(
        None, description="name of an existing bucket (on `local`: a directory) to use and never change; default: create a bucket"
    )
    existing_key: str | None = Field(
        None,
        description="ARN of an existing bucket's KMS key, so that jobs can decrypt objects; default: no customer-managed key",
    )


class ExistingNetwork(Spec):
    """An existing network. gpuyard uses it and never changes it."""

    vpc_id: str = Field(min_length=1, description="id of the network")
    subnet_ids: Mapping[str, str] = Field(min_length=1, description="zone -> id of its private subnet")
    private_zones: Mapping[str, str] = Field(
        default_factory=dict,
        description="azure: blob, dfs, registry, api or notebooks -> id of its private DNS zone, which is linked to the network; default: "
        "none, then the network's owner adds the records of private endpoints",
    )


class StackNetwork(NetworkSpec):
    """A network in a stack file: new or existing."""

    existing: ExistingNetwork | None = Field(None, description="existing network to use and never change; default: create a network")

    @property
    def known_zones(self) -> list[str]:
        """The zones that pools can use."""
        return list(self.existing.subnet_ids) if self.existing else self.zones


class StackSettings(YardSpec):
    """The settings of one stack."""

    network: StackNetwork = Field(
        StackNetwork(),
        description="addresses, zones and egress of a new network, or an existing network; default: the defaults of the fields",
    )

    buckets: Mapping[Name, StackBucket] = Field(description="logical name -> bucket; exactly one has jobs: write")
    waivers: list[WaiverSpec] = Field(
        default_factory=list, description="accepted findings of `gpuyard plan`: a list of {rule, urn, reason, until}; default: none"
    )

    @property
    def run_bucket(self) -> str:
        """The name of the bucket that jobs write to (`jobs: write`)."""
        return next(name for name, bucket in self.buckets.items() if bucket.jobs == "write")

    @property
    def read_buckets(self) -> list[str]:
        """The names of the buckets that jobs may only read (`jobs: read`)."""
        return [name for name, bucket in self.buckets.items() if bucket.jobs == "read"]

    @property
    def existing_buckets(self) -> dict[str, ExistingBucket]:
        """The existing buckets by logical name."""
        return {
            name: ExistingBucket(bucket.existing, bucket.existing_key, bucket.open_to if "open_to" in bucket.model_fields_set else None)
            for name, bucket in self.buckets.items()
            if bucket.existing is not None
        }


def load(config: Mapping[str, str], secret_keys: Collection[str] = (), *, stack: str) -> StackSettings:
    """Return the settings in a stack's configuration (full key -> text, as Pulumi passes it). Raises UsageError with every problem."""
    problems: list[Problem] = []
    raw: PlainDict = {}
    for key, text in sorted(config.items()):
        if key.startswith(NAMESPACE):
            field = key.removeprefix(NAMESPACE)
            try:
                raw[field] = _value(field, text)
            except ValueError:
                problems.append(Problem(key, "wrong value", show(text), "a mapping in YAML", _description(field)))
    unparsed = {problem.key for problem in problems}
    try:
        settings = _validated(raw)
    except ValidationError as error:
        found = problems_from(error, StackSettings, NAMESPACE)
        problems += [problem for problem in found if problem.key not in unparsed]
    problems += [*_missing_keys(raw.get("cloud"), config), *_across_buckets(raw), *_across_network(raw)]
    submitters = raw.get("submitters")
    problems += map(in_namespace, open_subject_problems(submitters if isinstance(submitters, list) else []))
    if problems:
        raise UsageError(f"the settings of stack {stack} are not valid", [_hidden(p, secret_keys) for p in problems])
    return settings


def _validated(raw: PlainDict) -> StackSettings:
    """Return the model. Numbers may be text, because `pulumi config set --path` writes 4.60 as "4.60"."""
    context = in_cloud(raw.get("cloud"))
    try:
        return StackSettings.model_validate(raw, context=context)
    except ValidationError as error:
        if not sum(_read_number(raw, each["loc"]) for each in error.errors() if each["type"] in ("float_type", "int_type")):
            raise
        return StackSettings.model_validate(raw, context=context)


def _read_number(raw: Any, path: Sequence[int | str]) -> bool:
    """Replace the text at a path by the number in it. Returns False if the text is not a number."""
    *parents, last = path
    for part in parents:
        raw = _entry(raw, part, raw)  # a union's branch in the path is no key
    text = _entry(raw, last, None)
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        return False
    raw[last] = json.loads(text)
    return True


def _entry(parent: Any, key: int | str, default: Any) -> Any:
    """Return an entry of a mapping or list; the default if there is none."""
    if isinstance(parent, list):
        return parent[key] if isinstance(key, int) and key < len(parent) else default
    return parent.get(key, default) if isinstance(parent, dict) else default


def in_namespace(problem: Problem) -> Problem:
    """Return a problem with its key as the stack file writes it. A provider's own key, such as aws:region, stays unchanged."""
    return problem if ":" in problem.key else dataclasses.replace(problem, key=f"{NAMESPACE}{problem.key}")


def _value(field: str, text: str) -> Any:
    """Return the value of a key from Pulumi's text: strings unchanged, everything else parsed from JSON."""
    return text if field in _STRINGS or field not in StackSettings.model_fields else json.loads(text)


def _description(field: str) -> str | None:
    known = StackSettings.model_fields.get(field)
    return known.description if known else None


def _missing_keys(cloud: object, config: Mapping[str, str]) -> list[Problem]:
    """Return a problem for each missing key of the provider's own configuration that locates resources, such as the region."""
    return [
        Problem(key, "required key is missing", allowed=f"a {key.partition(':')[2]}, such as {example}", fix=f"add `{key}: {example}`")
        for key, example in REQUIRED_KEYS.get(str(cloud), {}).items()
        if not config.get(key)
    ]


def _across_buckets(raw: PlainMapping) -> list[Problem]:
    """Return the problems between several buckets, or between several keys of one bucket.

    Read the values before validation, so that one error has all problems.
    """
    key = f"{NAMESPACE}buckets"
    buckets = raw.get("buckets")
    if not isinstance(buckets, Mapping):
        return []
    entries = {name: entry for name, entry in buckets.items() if isinstance(entry, Mapping)}
    writes = [name for name, entry in entries.items() if entry.get("jobs") == "write"]
    problems = [
        Problem(f"{key}.{name}.{field}", text, fix=f"remove {field}")
        for name, entry in entries.items()
        for field, text in (
            ("on_destroy", "`pulumi destroy` keeps every existing bucket"),
            ("access_logs", "`pulumi up` never changes an existing bucket"),
        )
        if entry.get("existing") is not None and field in entry
    ]
    problems += [
        Problem(f"{key}.{name}.existing_key", "only for an existing bucket", fix="remove existing_key, or set existing")
        for name, entry in entries.items()
        if "existing_key" in entry and entry.get("existing") is None
    ]
    if len(writes) != 1:
        got, fix = ", ".join(writes) or "none", "set `jobs: write` on one bucket and `jobs: read` on the others"
        problems.append(Problem(key, "not one bucket with jobs: write", got, "exactly one, the run bucket", fix))
    return problems


def _across_network(raw: PlainMapping) -> list[Problem]:
    key = f"{NAMESPACE}network"
    network = raw.get("network", {})
    if not isinstance(network, Mapping):
        return []
    new = sorted(network.keys() & NetworkSpec.model_fields.keys())
    if network.get("existing") is not None:
        fix = f"remove {', '.join(new)}"
        beside = [Problem(key, "keys of a new network cannot be set with `existing`", ", ".join(new), "only existing", fix)] if new else []
        return [*beside, *_across_existing(key, network["existing"], raw.get("cloud"))]
    return []


def _across_existing(key: str, existing: object, cloud: object) -> list[Problem]:
    """Return a problem if private DNS zones are named on a cloud without them."""
    if cloud == "azure" or not (isinstance(existing, Mapping) and existing.get("private_zones")):
        return []
    return [Problem(f"{key}.existing.private_zones", "only Azure has private DNS zones", fix="remove private_zones")]


def _hidden(problem: Problem, secret_keys: Collection[str]) -> Problem:
    """Return the problem without its value if Pulumi keeps its key encrypted."""
    secret = any(problem.key == key or problem.key.startswith(f"{key}.") for key in secret_keys)
    return problem.without_value() if secret else problem
