"""The part of a job service that is the same on every cloud: validation of its inputs, job targets, stack exports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pulumi

from ..plain_data import PlainDict, PlainMapping
from ..problems import Problem, show
from .base import Component, Problems, Tags, this_stack, validate_spec
from .bucket_base import BucketBase
from .job_targets import JobSettings, TargetData, service_problems
from .naming import name_problems
from .pool_base import PoolBase
from .spec import LimitsSpec, Spec
from .spec.fields import ImageDigest

__all__ = ["JobInputs", "JobRules", "JobServiceBase", "bucket_urls", "make_targets"]

_PoolT = TypeVar("_PoolT", bound=Component)
_FIXES = {"GpuPool": "make it with gpuyard.{cloud}.GpuPool", "Bucket": "adopt an existing bucket: Bucket.adopt(NAME, bucket=...)"}


@dataclass(frozen=True)
class JobInputs:
    """The inputs of a job service as its caller gave them, not checked yet."""

    pools: Sequence[Component]
    writes: Sequence[BucketBase]
    reads: Sequence[BucketBase]
    submitters: Sequence[str]
    secrets: Mapping[str, str] | None
    limits: LimitsSpec | PlainMapping | None
    image: str | None = None


def combination_problems(inputs: JobInputs) -> Problems:
    """Return the problems that concern several inputs of a job service: pools, buckets and submitters."""
    without_jobs = [pool for pool in inputs.pools if isinstance(pool, PoolBase) and pool.spec.service == "vms"]
    pools, jobless = ([pool.logical_name for pool in group] for group in (inputs.pools, without_jobs))
    writes, reads = ([bucket.logical_name for bucket in group] for group in (inputs.writes, inputs.reads))
    return service_problems(pools, jobless, writes, reads, inputs.submitters)


@dataclass(frozen=True)
class JobRules:
    """One cloud's rules for the inputs of a job service."""

    secret: re.Pattern[str]
    """Form of a reference to a secret."""
    secret_form: str
    """Description of that form, for messages."""
    subjects: Callable[[Sequence[str]], Problems]
    """Function that returns the problems of submitters."""
    name: Callable[[str], Problems] = name_problems
    """Function that returns the problems of the component's name."""
    combination: Callable[[JobInputs], Problems] = combination_problems
    """Function that returns the problems of the inputs as a whole."""


class _Settings(Spec):
    secrets: Mapping[str, str]
    limits: LimitsSpec
    image: ImageDigest | None


class JobServiceBase(Component):
    """Makes job targets of pools and buckets. Each cloud's JobService adds queues, identities and permissions."""

    targets: pulumi.Output[dict[str, TargetData]]
    """Job targets (JobTarget v1) by pool, as plain data. A pool that takes no jobs has no target."""
    submitter_role: pulumi.Output[str] | None = None
    """Identity of the pipelines in `submitters`; None without submitters."""
    _settings: JobSettings

    @property
    def exports(self) -> dict[str, pulumi.Output[str]]:
        """The stack's exports by name, besides `job_targets`."""
        return {} if self.submitter_role is None else {"submitter_role": self.submitter_role}

    def _declare(
        self,
        name: str,
        inputs: JobInputs,
        rules: JobRules,
        problems: Problems,
        tags: Tags | None,
        opts: pulumi.ResourceOptions | None,
        **props: object,
    ) -> None:
        """Check the inputs and register the component."""
        found = [*rules.name(name), *_input_problems(self.cloud, inputs, rules), *problems]
        raw = {"secrets": inputs.secrets or {}, "limits": inputs.limits or {}, "image": inputs.image}
        valid = validate_spec(_Settings, raw, f"JobService {name}", self.cloud, found)
        super().__init__("JobService", name, {**self._props(valid.model_dump(), inputs), **props}, tags, opts)
        self._settings = JobSettings(this_stack(), valid.limits, valid.secrets, valid.image)

    def _props(self, settings: PlainDict, inputs: JobInputs) -> PlainDict:
        """Return the inputs that the state records for the component."""
        return {**settings, "submitters": list(inputs.submitters), "pools": [pool.logical_name for pool in inputs.pools]}

    def _targets_content(self) -> PlainDict:
        """Return content and type of targets.json. It is text, because Pulumi's engine drops nulls and converts integers to floats."""
        text = self.targets.apply(lambda found: json.dumps(found, indent=2, sort_keys=True) + "\n")
        return {"content": text, "content_type": "application/json"}


def bucket_urls(run: BucketBase, reads: Sequence[BucketBase]) -> dict[str, pulumi.Output[str] | dict[str, pulumi.Output[str]]]:
    """Return the buckets' URLs for the targets: `run`, and `urls` by logical name."""
    return {"run": run.url, "urls": {bucket.logical_name: bucket.url for bucket in (*reads, run)}}


def make_targets(
    pools: Sequence[_PoolT], known: pulumi.Output[PlainDict], target: Callable[[_PoolT, PlainMapping], TargetData]
) -> pulumi.Output[dict[str, TargetData]]:
    """Return the target of each pool by name. `target` makes one from the pool and the known values."""
    return known.apply(lambda found: {pool.logical_name: target(pool, found) for pool in pools})


def _input_problems(cloud: str, inputs: JobInputs, rules: JobRules) -> list[Problem]:
    shapes = [
        *_wrong_components(cloud, "pools", inputs.pools, "GpuPool"),
        *_wrong_components(cloud, "writes", inputs.writes, "Bucket"),
        *_wrong_components(cloud, "reads", inputs.reads, "Bucket"),
        *_wrong_submitters(inputs.submitters),
    ]
    names = [] if shapes else rules.combination(inputs)
    subjects = [] if _wrong_submitters(inputs.submitters) else rules.subjects(inputs.submitters)
    return [*shapes, *names, *subjects, *_secret_problems(inputs.secrets, rules)]


def _wrong_components(cloud: str, key: str, items: object, kind: str) -> list[Problem]:
    """Return a problem for each item that is not a component of this kind and cloud."""
    allowed, fix = f"a {kind} of gpuyard.{cloud}", _FIXES[kind].format(cloud=cloud)
    if isinstance(items, str | Mapping) or not isinstance(items, Collection):
        return [Problem(key, "wrong type", got=_type_name(items), allowed=f"a list, each {allowed}", fix=f"write {key}=[...]")]
    return [
        Problem(f"{key}.{index}", "wrong type", got=_type_name(item), allowed=allowed, fix=fix)
        for index, item in enumerate(items)
        if not (isinstance(item, Component) and (item.cloud, item.kind) == (cloud, kind))
    ]


def _wrong_submitters(submitters: object) -> list[Problem]:
    listed = isinstance(submitters, Collection) and not isinstance(submitters, str | Mapping)
    if listed and all(isinstance(subject, str) for subject in submitters):  # type: ignore[attr-defined]  # narrowed by `listed`
        return []
    return [Problem("submitters", "wrong type", got=show(submitters), allowed="a list of strings", fix="write submitters=[...]")]


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _secret_problems(secrets: object, rules: JobRules) -> list[Problem]:
    """Return a problem for each reference with a wrong form. Values are hidden, because a user may have written the secret itself."""
    references = secrets if isinstance(secrets, Mapping) else {}
    return [
        Problem(f"secrets.{name}", "wrong value", got="(secret)", allowed=rules.secret_form)
        for name, reference in references.items()
        if isinstance(reference, str) and not rules.secret.fullmatch(reference)
    ]
