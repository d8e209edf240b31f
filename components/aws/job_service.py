"""The job service of an AWS yard: queues, roles, logs, and one job target for each pool that takes jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainMapping
from ..base import Tags, keywords_only
from ..job_service_base import JobInputs, JobRules, JobServiceBase, bucket_urls
from ..job_targets import TARGETS, merge_targets
from ..naming import job_prefix
from ..spec import LimitsSpec
from ..validation.submitters import subject_problems
from .account import Account, AwsComponent, look_up_account
from .identity import Identity
from .job_backends import BatchService, Buckets, SageMakerService, grant_machines
from .job_targets import TargetContext
from .key import EncryptionKey
from .permissions import Storage
from .pool_rules import key_problems
from .submitter import submitter
from .trust import Trust

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool

__all__ = ["JobService"]

_RULES = JobRules(
    re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}"),
    "the complete ARN of a Secrets Manager secret with its last six characters, never the secret's value",
    subject_problems,
)


class JobService(JobServiceBase, AwsComponent):
    """A service that turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket.

    Each `batch` pool gets a queue; all of them share a log group and the roles of jobs. All `sagemaker` pools share the role of
    training jobs and a model package group. The machines of `vms` pools get a job's access to the buckets. `submitters` get a role.
    """

    submitter_role: pulumi.Output[str] | None
    """ARN of the role for pipelines. None without submitters; users submit with their own permissions."""

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[GpuPool],
        writes: Sequence[Bucket],
        reads: Sequence[Bucket] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[str] = (),
        limits: LimitsSpec | PlainMapping | None = None,
        image: str | None = None,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the job service. `writes`: exactly one bucket, the run bucket, with journal, code, checkpoints and results.

        `submitters`: subjects of GitHub's OIDC tokens; the account must have the provider for them (docs/aws-permissions.md).
        `image`: default container image of jobs, by digest. `key`: a key with `for_logs` for the log group (default: a new key).
        """
        self._declare(name, JobInputs(pools, writes, reads, submitters, secrets, limits, image), _RULES, key_problems(key), tags, opts)
        self._account, run = look_up_account(self), writes[0]
        context = self._context(run, reads)
        buckets = Buckets(_storage(run, self._account), [_storage(bucket, self._account) for bucket in reads])
        by_service = {word: [pool for pool in pools if pool.spec.service == word] for word in ("batch", "sagemaker", "vms")}
        batch = BatchService(self, by_service["batch"], self._account, context, buckets, key) if by_service["batch"] else None
        trains = SageMakerService(self, by_service["sagemaker"], self._account, context, buckets) if by_service["sagemaker"] else None
        grant_machines(self, by_service["vms"], buckets, sorted(self._settings.secrets.values()))
        found, order = [service.targets for service in (batch, trains) if service], [pool.logical_name for pool in pools]
        self.targets = pulumi.Output.all(*found).apply(lambda parts: merge_targets(order, parts))
        self.submitter_role = self._submitter(submitters, context, buckets.run, batch, trains) if submitters else None
        self._write_targets(run)
        self.register_outputs({"targets": self.targets, "submitter_role": self.submitter_role})

    def _context(self, run: Bucket, reads: Sequence[Bucket]) -> pulumi.Output[TargetContext]:
        known = pulumi.Output.all(scope=self._account.arn_scope, key=run.key_arn, **bucket_urls(run, reads))
        return known.apply(lambda found: TargetContext(found["scope"], self._settings, found["run"], found["urls"], found["key"]))

    def _submitter(
        self,
        subjects: Sequence[str],
        context: pulumi.Output[TargetContext],
        run: pulumi.Output[Storage],
        batch: BatchService | None,
        trains: SageMakerService | None,
    ) -> pulumi.Output[str]:
        stack = self._settings.stack
        access = {"batch": batch.access if batch else None, "sagemaker": trains.access if trains else None}
        statements = pulumi.Output.all(context=context, run=run, **access).apply(
            lambda known: submitter(known["context"].scope, known["run"], stack, job_prefix(stack), known["batch"], known["sagemaker"])
        )
        role = Identity(
            self.child_name("submitter"),
            trust=Trust(subjects=tuple(subjects)),
            statements=statements,
            account=self._account,
            opts=self.child_options(),
        )
        return role.role_arn

    def _write_targets(self, run: Bucket) -> None:
        """Write targets.json to the run bucket, without tags, because an S3 object has at most ten."""
        encrypted = {"server_side_encryption": "aws:kms", "kms_key_id": run.key_arn, "bucket_key_enabled": True} if run.key_arn else {}
        aws.s3.BucketObjectv2(
            self.child_name("targets"),
            bucket=run.name,
            key=TARGETS,
            **self._targets_content(),
            opts=self.child_options(),
            **encrypted,
        )


def _storage(bucket: Bucket, account: Account) -> pulumi.Output[Storage]:
    known = pulumi.Output.all(account.partition, bucket.name, bucket.key_arn)
    return known.apply(lambda words: Storage(f"arn:{words[0]}:s3:::{words[1]}", words[2]))
