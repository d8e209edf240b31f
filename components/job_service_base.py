"""Base classes of job services on every cloud: constructor, validation of the inputs, job targets, stack exports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import pulumi

from ..plain_data import PlainDict, PlainMapping
from ..problems import Problem
from .base import Component, Problems, Tags, keywords_only, this_stack, validate_spec
from .bucket_base import BucketBase
from .job_targets import JobSettings, TargetData, service_problems
from .naming import name_problems
from .pool_base import PoolBase
from .spec import LimitsSpec, Shares, Spec
from .spec.fields import ImageDigest
from .validation.submitters import Submitter, open_subject_problems, repository_id_problems, subjects_of, submitter_problems

__all__ = ["ContainerJobServiceBase", "JobInputs", "JobServiceBase", "KeyedJobServiceBase", "bucket_urls", "make_targets"]

_PoolT = TypeVar("_PoolT", bound=PoolBase[Component])
_BucketT = TypeVar("_BucketT", bound=BucketBase)
_KeyT = TypeVar("_KeyT", bound=Component)
_FIXES = {"GpuPool": "make it with gpuyard.{cloud}.GpuPool", "Bucket": "adopt an existing bucket: Bucket.adopt(NAME, bucket=...)"}


@dataclass(frozen=True)
class JobInputs(Generic[_PoolT, _BucketT]):
    """The inputs of a job service as its caller gave them. The service checks them before it makes anything."""

    pools: Sequence[_PoolT]
    writes: Sequence[_BucketT]
    reads: Sequence[_BucketT]
    submitters: Sequence[Submitter]
    secrets: Mapping[str, str] | None
    limits: LimitsSpec | PlainMapping | None
    image: str | None = None
    shares: Mapping[str, int] | None = None

    @property
    def run(self) -> _BucketT:
        """The run bucket."""
        return self.writes[0]

    @property
    def subjects(self) -> list[str]:
        """The subjects of all submitters."""
        return subjects_of(self.submitters)

    def pools_of(self, service: str) -> list[_PoolT]:
        """Return the pools of a service."""
        return [pool for pool in self.pools if pool.spec.service == service]


class _Settings(Spec):
    secrets: Mapping[str, str]
    limits: LimitsSpec
    image: ImageDigest | None
    shares: Shares


class JobServiceBase(Component, Generic[_PoolT, _BucketT]):
    """Base class of every job service. A cloud's JobService makes queues, identities, permissions and job targets in `_make`."""

    targets: pulumi.Output[dict[str, TargetData]]
    """Job targets (JobTarget v1) by pool, as plain data. A pool that takes no jobs has no target."""
    submitter_role: pulumi.Output[str] | None = None
    """Identity that `submitters` use; None without submitters. On Azure only pipelines use it."""
    pool_names: tuple[str, ...]
    """Names of the pools."""
    run_bucket_name: str
    """Name of the run bucket's component."""
    _settings: JobSettings
    _reference: ClassVar[re.Pattern[str]]
    """Form of a reference to a secret."""
    _reference_form: ClassVar[str]
    """How a reference to a secret must look on this cloud. Error messages quote it."""
    _output_names: ClassVar[Sequence[str]] = ("targets", "submitter_role")

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[_PoolT],
        writes: Sequence[_BucketT],
        reads: Sequence[_BucketT] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[Submitter] = (),
        limits: LimitsSpec | PlainMapping | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the job service. `writes`: exactly one bucket, the run bucket, with journal, code, checkpoints and results."""
        self._build(name, JobInputs(pools, writes, reads, submitters, secrets, limits), tags, opts)

    def _build(self, name: str, inputs: JobInputs[_PoolT, _BucketT], tags: Tags | None, opts: pulumi.ResourceOptions | None) -> None:
        """Check the inputs, register the component, make its resources and register its outputs."""
        found = [*self._name_problems(name), *self._input_problems(inputs), *self._problems()]
        raw = {"secrets": inputs.secrets or {}, "limits": inputs.limits or {}, "image": inputs.image, "shares": inputs.shares or {}}
        valid = validate_spec(_Settings, raw, f"JobService {name}", self.cloud, found)
        super().__init__("JobService", name, self._props(valid.model_dump(), inputs), tags, opts)
        self.pool_names = tuple(pool.logical_name for pool in inputs.pools)
        self.run_bucket_name = inputs.run.logical_name
        self._settings = JobSettings(this_stack(), valid.limits, valid.secrets, valid.image, valid.shares)
        self._make(inputs)
        self.register_outputs(self._outputs())

    @property
    def exports(self) -> dict[str, pulumi.Output[str]]:
        """The stack's exports by name, besides `job_targets`."""
        return {} if self.submitter_role is None else {"submitter_role": self.submitter_role}

    def _make(self, given: JobInputs[_PoolT, _BucketT]) -> None:
        """Make the service's resources and set its attributes."""
        raise NotImplementedError

    def _props(self, settings: PlainDict, inputs: JobInputs[_PoolT, _BucketT]) -> PlainDict:
        """Return the component's inputs for Pulumi's state."""
        return {**settings, "submitters": inputs.subjects, "pools": [pool.logical_name for pool in inputs.pools]}

    def _name_problems(self, name: str) -> Problems:
        return name_problems(name)

    def _problems(self) -> Problems:
        """Return the problems of this cloud's own arguments."""
        return ()

    @staticmethod
    def _subject_problems(subjects: Sequence[str]) -> Problems:
        """Return the problems of the subjects in `submitters`."""
        raise NotImplementedError

    def _combined_problems(self, inputs: JobInputs[_PoolT, _BucketT]) -> Problems:
        """Return the problems between inputs, such as duplicate names of buckets."""
        pools, jobless = ([pool.logical_name for pool in group] for group in (inputs.pools, inputs.pools_of("vms")))
        writes, reads = ([bucket.logical_name for bucket in group] for group in (inputs.writes, inputs.reads))
        return service_problems(pools, jobless, writes, reads, inputs.subjects)

    def _input_problems(self, inputs: JobInputs[_PoolT, _BucketT]) -> Problems:
        wrong = submitter_problems(inputs.submitters)
        shapes = [
            *_wrong_components(self.cloud, "pools", inputs.pools, "GpuPool"),
            *_wrong_components(self.cloud, "writes", inputs.writes, "Bucket"),
            *_wrong_components(self.cloud, "reads", inputs.reads, "Bucket"),
            *wrong,
        ]
        names = [] if shapes else self._combined_problems(inputs)
        subjects = [] if wrong else self._submitter_problems(inputs)
        return [*shapes, *names, *subjects, *self._secret_problems(inputs.secrets)]

    def _submitter_problems(self, inputs: JobInputs[_PoolT, _BucketT]) -> list[Problem]:
        """Return the problems of submitters whose types are right."""
        own = self._subject_problems(inputs.subjects)
        return [*open_subject_problems(inputs.submitters), *repository_id_problems(inputs.submitters, self.cloud), *own]

    def _secret_problems(self, secrets: object) -> Problems:
        """Return a problem for each reference with a wrong form. It hides the value, which may be the secret itself."""
        references = secrets if isinstance(secrets, Mapping) else {}
        return [
            Problem(f"secrets.{name}", "wrong value", got="(secret)", allowed=self._reference_form)
            for name, reference in references.items()
            if isinstance(reference, str) and not self._reference.fullmatch(reference)
        ]

    def _targets_content(self) -> PlainDict:
        """Return content and content type of targets.json, as text: Pulumi's engine drops nulls and converts integers to floats."""
        text = self.targets.apply(lambda found: json.dumps(found, indent=2, sort_keys=True) + "\n")
        return {"content": text, "content_type": "application/json"}


class ContainerJobServiceBase(JobServiceBase[_PoolT, _BucketT]):
    """Base class of a job service whose jobs run in containers."""

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[_PoolT],
        writes: Sequence[_BucketT],
        reads: Sequence[_BucketT] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[Submitter] = (),
        limits: LimitsSpec | PlainMapping | None = None,
        image: str | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the job service. `writes`: exactly one bucket, the run bucket, with journal, code, checkpoints and results.

        `submitters`: subjects of GitHub's OIDC tokens, and people and groups of the cloud; a subject with `*` or for pull requests needs a
        reason. `image`: container image by
        digest, for jobs that name no image.
        """
        self._build(name, JobInputs(pools, writes, reads, submitters, secrets, limits, image), tags, opts)


class KeyedJobServiceBase(JobServiceBase[_PoolT, _BucketT], Generic[_PoolT, _BucketT, _KeyT]):
    """Base class of a job service with jobs in containers and an encryption key for logs."""

    _key: _KeyT | None

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[_PoolT],
        writes: Sequence[_BucketT],
        reads: Sequence[_BucketT] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[Submitter] = (),
        limits: LimitsSpec | PlainMapping | None = None,
        image: str | None = None,
        key: _KeyT | None = None,
        shares: Mapping[str, int] | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the job service. `writes`: exactly one bucket, the run bucket, with journal, code, checkpoints and results.

        `submitters`: subjects of GitHub's OIDC tokens, and people and groups of the cloud; a subject with `*` or for pull requests needs a
        reason. `image`: container image by
        digest, for jobs that name no image. `key`: encrypts the logs of jobs (default: a new key).
        """
        self._key = key
        self._build(name, JobInputs(pools, writes, reads, submitters, secrets, limits, image, shares), tags, opts)


def bucket_urls(run: BucketBase, reads: Sequence[BucketBase]) -> dict[str, pulumi.Output[str] | dict[str, pulumi.Output[str]]]:
    """Return the buckets' URLs for the targets: `run`, and `urls` by logical name."""
    return {"run": run.url, "urls": {bucket.logical_name: bucket.url for bucket in (*reads, run)}}


def make_targets(
    pools: Sequence[_PoolT], known: pulumi.Output[PlainDict], target: Callable[[_PoolT, PlainMapping], TargetData]
) -> pulumi.Output[dict[str, TargetData]]:
    """Return {pool name: target}. The function `target` makes one from the pool and the resolved values of `known`."""
    return known.apply(lambda found: {pool.logical_name: target(pool, found) for pool in pools})


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


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
