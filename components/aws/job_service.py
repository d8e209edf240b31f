"""The job service of an AWS yard: queues, roles, logs, and where jobs can go: one target per pool that takes jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import pulumi
import pulumi_aws as aws
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ...problems import Problem
from ..base import Tags, checked, this_stack
from ..job_service_base import JobServiceBase
from ..job_targets import TARGETS, JobSettings, in_order, service_problems
from ..naming import job_prefix, name_problems
from ..spec import LimitsSpec, Spec
from ..spec.fields import ImageDigest
from ..validation.submitters import subject_problems
from .account import Account, AwsComponent, account
from .identity import Identity
from .job_backends import BatchService, Buckets, SageMakerService, grant_machines
from .job_targets import TargetContext
from .key import EncryptionKey
from .permissions import Storage
from .submitter import submitter
from .trust import Trust

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool

_SECRET = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}")


def _secret_arn(value: str) -> str:
    if not _SECRET.fullmatch(value):
        raise PydanticCustomError("secret", "the whole ARN of a Secrets Manager secret, its six last characters included; never its value")
    return value


class _Given(Spec):
    secrets: Mapping[str, Annotated[str, AfterValidator(_secret_arn)]] = Field(description="ARNs by logical name")
    limits: LimitsSpec
    image: ImageDigest | None


class JobService(JobServiceBase, AwsComponent):
    """Turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket.

    For `batch` pools: a queue each, one log group, the roles of jobs. For `sagemaker` pools: the role of training jobs and a
    group for finished models. The machines of `vms` pools get a job's access to the buckets. For `submitters`: their role.
    """

    targets: pulumi.Output[dict[str, Any]]
    """{pool: JobTarget v1}, plain data; no entry for a `vms` pool."""
    submitter_role: pulumi.Output[str] | None
    """ARN of the role for CI; None: no submitters, so people submit with rights of their own."""

    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[GpuPool],
        writes: Sequence[Bucket],
        reads: Sequence[Bucket] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[str] = (),
        limits: LimitsSpec | Mapping[str, Any] | None = None,
        image: str | None = None,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`writes` holds exactly one bucket, the run bucket: journal, code, checkpoints, results.

        `submitters`: subjects of GitHub's OIDC tokens; the account must have the provider for them (docs/aws-permissions.md).
        `image`: container of jobs that name none, by digest. `key`: what the log group is under, made with `for_logs` (default: its own).
        """
        found = [*name_problems(name), *_problems(pools, writes, reads, submitters, key)]
        raw = {"secrets": dict(secrets or {}), "limits": limits or {}, "image": image}
        given = checked(_Given, raw, f"JobService {name}", self.cloud, found)
        props = {**given.model_dump(), "submitters": list(submitters), "pools": [pool.logical_name for pool in pools]}
        super().__init__("JobService", name, props, tags, opts)
        self._where = account(self)
        self._given = JobSettings(this_stack(), given.limits, given.secrets, given.image)
        yard = self._yard(reads, writes[0])
        buckets = Buckets(_storage(writes[0], self._where), [_storage(bucket, self._where) for bucket in reads])
        by_service = {word: [pool for pool in pools if pool.spec.service == word] for word in ("batch", "sagemaker", "vms")}
        batch = BatchService(self, by_service["batch"], self._where, yard, buckets, key) if by_service["batch"] else None
        trains = SageMakerService(self, by_service["sagemaker"], self._where, yard, buckets) if by_service["sagemaker"] else None
        grant_machines(self, by_service["vms"], buckets, sorted(given.secrets.values()))
        found_targets = [service.targets for service in (batch, trains) if service]
        order = [pool.logical_name for pool in pools]
        self.targets = pulumi.Output.all(*found_targets).apply(lambda parts: in_order(order, parts))
        self.submitter_role = self._submitter(submitters, yard, buckets.run, batch, trains) if submitters else None
        self._write(writes[0])
        self.register_outputs({"targets": self.targets, "submitter_role": self.submitter_role})

    def _yard(self, reads: Sequence[Bucket], run: Bucket) -> pulumi.Output[TargetContext]:
        urls = {bucket.logical_name: bucket.url for bucket in (*reads, run)}
        known = pulumi.Output.all(place=self._where.place, run=run.url, urls=urls, key=run.key_arn)
        return known.apply(lambda found: TargetContext(found["place"], self._given, found["run"], found["urls"], found["key"]))

    def _submitter(
        self,
        subjects: Sequence[str],
        yard: pulumi.Output[TargetContext],
        run: pulumi.Output[Storage],
        batch: BatchService | None,
        trains: SageMakerService | None,
    ) -> pulumi.Output[str]:
        stack = self._given.stack
        sides = {"batch": batch.side if batch else None, "sagemaker": trains.side if trains else None}
        statements = pulumi.Output.all(yard=yard, run=run, **sides).apply(
            lambda known: submitter(known["yard"].place, known["run"], stack, job_prefix(stack), known["batch"], known["sagemaker"])
        )
        role = Identity(
            self.child_name("submitter"),
            trust=Trust(subjects=tuple(subjects)),
            statements=statements,
            where=self._where,
            opts=self.child_options(),
        )
        return role.role_arn

    def _write(self, run: Bucket) -> None:
        """Text, not properties: the engine drops nulls and turns whole numbers into floats. No tags: an object takes ten at most."""
        encrypted = {"server_side_encryption": "aws:kms", "kms_key_id": run.key_arn, "bucket_key_enabled": True} if run.key_arn else {}
        aws.s3.BucketObjectv2(
            self.child_name("targets"),
            bucket=run.name,
            key=TARGETS,
            content=self.targets.apply(lambda found: json.dumps(found, indent=2, sort_keys=True) + "\n"),
            content_type="application/json",
            opts=self.child_options(),
            **encrypted,
        )


def _problems(
    pools: Sequence[GpuPool], writes: Sequence[Bucket], reads: Sequence[Bucket], submitters: Sequence[str], key: EncryptionKey | None
) -> list[Problem]:
    problems = service_problems(
        [pool.logical_name for pool in pools],
        [pool.logical_name for pool in pools if pool.spec.service == "vms"],
        [bucket.logical_name for bucket in writes],
        [bucket.logical_name for bucket in reads],
        submitters,
    )
    if key is not None and not key.for_logs:
        problems.append(
            Problem("key", "cannot encrypt log groups", key.logical_name, "a key with for_logs=True", "create it with for_logs=True")
        )
    return problems + subject_problems(submitters)


def _storage(bucket: Bucket, where: Account) -> pulumi.Output[Storage]:
    known = pulumi.Output.all(where.partition, bucket.name, bucket.key_arn)
    return known.apply(lambda words: Storage(f"arn:{words[0]}:s3:::{words[1]}", words[2]))
