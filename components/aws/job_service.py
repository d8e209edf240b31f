"""The job service of an AWS yard: queues, roles, logs, and one job target for each pool that takes jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from ...run_bucket import TARGETS
from ..base import Problems
from ..job_service_base import JobInputs, KeyedJobServiceBase, bucket_urls
from ..job_targets import merge_targets
from ..naming import job_prefix
from ..validation.submitters import subject_problems
from .account import Account, AwsComponent, look_up_account
from .bucket import Bucket
from .gpu_pool import GpuPool
from .identity import Identity
from .job_backends import BatchService, Buckets, SageMakerService, grant_machines
from .job_targets import TargetContext
from .key import EncryptionKey
from .permissions import Storage
from .pool_rules import key_problems
from .replacement_limit import WATCHED, limit_replacements
from .submitter import submitter
from .trust import PEOPLE, Trust

__all__ = ["JobService"]


class JobService(KeyedJobServiceBase[GpuPool, Bucket, EncryptionKey], AwsComponent):
    """A service that turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket.

    Each `batch` pool gets a queue; all of them share a log group and the roles of jobs. All `sagemaker` pools share the role of training
    jobs and a model package group. The machines of `vms` pools get a job's access to the buckets. The service stops a pool that replaces
    too many machines (docs/aws.md). `submitters` get a role; for pipelines the account must have GitHub's OIDC provider
    (docs/aws-permissions.md). `key`: a key with `for_logs` for the log group.
    `shares`: share of each team in the machines of `batch` pools.
    """

    _reference = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}")
    _reference_form = "the complete ARN of a Secrets Manager secret with its last six characters, never the secret's value"
    submitter_role: pulumi.Output[str] | None
    """ARN of the role that submitters assume. None without submitters; then users submit with their own permissions."""

    queue_arns: list[pulumi.Output[str]]
    """ARNs of the queues of `batch` pools."""
    trains: bool
    """Whether the service has `sagemaker` pools."""
    alarm_arns: list[pulumi.Output[str]]
    """ARNs of the alarms for pools that replace machines too often and therefore stop."""

    @staticmethod
    def _subject_problems(subjects: Sequence[str]) -> Problems:
        return subject_problems(subjects, PEOPLE)

    def _problems(self) -> Problems:
        return key_problems(self._key)

    def _make(self, given: JobInputs[GpuPool, Bucket]) -> None:
        """Make the queues and roles of Batch and SageMaker, the machines' permissions, the submitter's role, and targets.json."""
        self._account, run = look_up_account(self), given.run
        context = self._context(run, given.reads)
        buckets = Buckets(_storage(run, self._account), [_storage(bucket, self._account) for bucket in given.reads])
        queued, trained = given.pools_of("batch"), given.pools_of("sagemaker")
        batch = BatchService(self, queued, self._account, context, buckets, self._key, self._settings.shares) if queued else None
        trains = SageMakerService(self, trained, self._account, context, buckets) if trained else None
        self.queue_arns, self.trains = batch.queue_arns if batch else [], trains is not None
        self.alarm_arns = limit_replacements(self, [pool for pool in given.pools if pool.spec.service in WATCHED], self._account)
        grant_machines(self, given.pools_of("vms"), buckets, sorted(self._settings.secrets.values()))
        found, order = [service.targets for service in (batch, trains) if service], [pool.logical_name for pool in given.pools]
        self.targets = pulumi.Output.all(*found).apply(lambda parts: merge_targets(order, parts))
        self.submitter_role = self._submitter(given.subjects, context, buckets.run, batch, trains) if given.submitters else None
        self._write_targets(run)

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
