"""All settings of a stack, the namespace gpuyard of Pulumi.<stack>.yaml, as one validated model; every error at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from gpuyard.components.spec import BucketSpec, Name, NetworkSpec, Spec, YardSpec, in_cloud
from gpuyard.components.validation.buckets import ExistingBucket
from gpuyard.problems import Problem, problems_from, show
from gpuyard.training_jobs.errors import UsageError

NAMESPACE = "gpuyard:"
_WORDS = frozenset({"cloud", "owner", "expires"})


class StackBucket(BucketSpec):
    """A bucket in a stack file: made by the yard or existing, and what jobs may do with it."""

    jobs: Literal["read", "write"] | None = Field(
        None, description="what jobs may do: read, or write (the run bucket, exactly one); default nothing"
    )
    existing: str | None = Field(None, description="use this bucket as it is (on `local`: a directory), never changed; default: make one")
    existing_key: str | None = Field(
        None,
        description="ARN of the key an existing bucket is encrypted with, so that jobs can read it; default: a key that needs no grant",
    )


class ExistingNetwork(Spec):
    """A network that is there already: used, never changed."""

    vpc_id: str = Field(min_length=1, description="id of the network")
    subnet_ids: Mapping[str, str] = Field(min_length=1, description="private subnet by zone")


class StackNetwork(NetworkSpec):
    """A network in a stack file: made by the yard, or existing."""

    existing: ExistingNetwork | None = Field(None, description="use this network as it is, never changed; default: make one")

    @property
    def known_zones(self) -> list[str]:
        """The zones a pool can be in."""
        return list(self.existing.subnet_ids) if self.existing else self.zones


class StackSettings(YardSpec):
    """A yard as a stack file declares it."""

    network: StackNetwork = Field(
        StackNetwork(), description="addresses, zones and the way out, or an existing network; default: see there"
    )

    buckets: Mapping[Name, StackBucket] = Field(description="buckets by logical name, one of them with jobs: write")

    @property
    def run_bucket(self) -> str:
        """The name of the bucket with jobs: write."""
        return next(name for name, bucket in self.buckets.items() if bucket.jobs == "write")

    @property
    def read_buckets(self) -> list[str]:
        """The names of the buckets with jobs: read."""
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
    """The settings in a stack's configuration (key -> text, as Pulumi hands it). Raises UsageError with every problem."""
    problems: list[Problem] = []
    raw: dict[str, Any] = {}
    for key, text in sorted(config.items()):
        if key.startswith(NAMESPACE):
            field = key.removeprefix(NAMESPACE)
            try:
                raw[field] = _value(field, text)
            except ValueError:
                problems.append(Problem(key, "wrong value", show(text), "a mapping in YAML", _description(field)))
    unread = {problem.key for problem in problems}
    try:
        settings = StackSettings.model_validate(raw, context=in_cloud(raw.get("cloud")))
    except ValidationError as error:
        found = problems_from(error, StackSettings, NAMESPACE)
        problems += [problem for problem in found if problem.key not in unread]
    problems += [*_across_buckets(raw), *_across_network(raw)]
    if problems:
        raise UsageError(f"the settings of stack {stack} are not valid", [_hidden(p, secret_keys) for p in problems])
    return settings


def in_namespace(problem: Problem) -> Problem:
    """Return a problem of a yard with its key as the stack file writes it. A provider's own key, such as aws:region, stays."""
    return problem if ":" in problem.key else dataclasses.replace(problem, key=f"{NAMESPACE}{problem.key}")


def _value(field: str, text: str) -> Any:
    """Words stay text; everything else arrives as JSON; an unknown key's value does not matter."""
    return text if field in _WORDS or field not in StackSettings.model_fields else json.loads(text)


def _description(field: str) -> str | None:
    known = StackSettings.model_fields.get(field)
    return known.description if known else None


def _across_buckets(raw: Mapping[str, Any]) -> list[Problem]:
    """What concerns several entries; asked of the raw values, so that it is told with the other problems."""
    key = f"{NAMESPACE}buckets"
    buckets = raw.get("buckets")
    if not isinstance(buckets, Mapping):
        return []
    entries = {name: entry for name, entry in buckets.items() if isinstance(entry, Mapping)}
    writes = [name for name, entry in entries.items() if entry.get("jobs") == "write"]
    problems = [
        Problem(f"{key}.{name}.on_destroy", "an existing bucket is never destroyed", fix="remove on_destroy")
        for name, entry in entries.items()
        if entry.get("existing") is not None and "on_destroy" in entry
    ]
    problems += [
        Problem(f"{key}.{name}.existing_key", "the key of an existing bucket", fix="remove existing_key, or give existing")
        for name, entry in entries.items()
        if "existing_key" in entry and entry.get("existing") is None
    ]
    if len(writes) != 1:
        got, fix = ", ".join(writes) or "none", "give one bucket `jobs: write`, the others `jobs: read`"
        problems.append(Problem(key, "jobs: write", got, "exactly one, the run bucket", fix))
    return problems


def _across_network(raw: Mapping[str, Any]) -> list[Problem]:
    key = f"{NAMESPACE}network"
    network = raw.get("network", {})
    if not isinstance(network, Mapping):
        return []
    made = sorted(network.keys() & NetworkSpec.model_fields.keys())
    if network.get("existing") is not None:
        fix = f"remove {', '.join(made)}"
        return [Problem(key, "an existing network is never changed", ", ".join(made), "existing alone", fix)] if made else []
    return []


def _hidden(problem: Problem, secret_keys: Collection[str]) -> Problem:
    """Return the problem without its value if Pulumi keeps its key encrypted."""
    secret = any(problem.key == key or problem.key.startswith(f"{key}.") for key in secret_keys)
    return problem.without_value() if secret else problem
