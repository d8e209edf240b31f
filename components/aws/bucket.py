"""A bucket of an AWS yard: a private, encrypted and versioned S3 bucket, or an existing bucket that stays unchanged."""

from __future__ import annotations

import json
from typing import Any, Self

import pulumi
import pulumi_aws as aws

from ..base import Tags, after
from ..bucket_base import KeyedBucketBase
from ..spec import BucketSpec
from .account import AwsComponent, look_up_account, look_up_partition
from .bucket_rules import NO_PUBLIC_ACCESS, data_lifecycle, existing_problems, log_lifecycle, log_policy, tls_only
from .key import EncryptionKey

__all__ = ["Bucket"]

_OWNER: aws.s3.BucketOwnershipControlsRuleArgsDict = {"object_ownership": "BucketOwnerEnforced"}
_VERSIONS: aws.s3.BucketVersioningVersioningConfigurationArgsDict = {"status": "Enabled"}


class Bucket(KeyedBucketBase[EncryptionKey], AwsComponent):
    """A private S3 bucket: encrypted with a KMS key, versioned, TLS only, with access logs in a second bucket.

    Objects that a job overwrites or deletes stay recoverable for some days (bucket_rules.py has the numbers). Current objects never expire.
    `adopt` uses an existing bucket and never changes it.
    """

    _existing_problems = staticmethod(existing_problems)
    _output_names = ("name", "url", "arn", "key_arn")
    arn: pulumi.Output[str]
    key_arn: pulumi.Output[str] | None
    """The KMS key of the bucket's objects. None for an adopted bucket without `key_arn`."""

    def _make(self, spec: BucketSpec) -> None:
        """Make two private buckets, one for data and one for its access logs, and a key if the caller gave none."""
        account, key = look_up_account(self), self._key
        if key is None:
            key = EncryptionKey(self.child_name("key"), on_destroy=spec.on_destroy, account=account, opts=self.child_options())
        deletes = spec.on_destroy == "delete"
        data, guards = self._private_bucket("bucket", key, deletes)
        logs, log_guards = self._private_bucket("access-logs", None, deletes)
        policy = pulumi.Output.all(logs.arn, data.arn, account.id).apply(lambda known: json.dumps(log_policy(*known)))
        delivery = self._policy("access-logs", logs, policy, log_guards)
        guards.append(self._policy("bucket", data, data.arn.apply(lambda arn: json.dumps(tls_only(arn))), guards))
        # S3 checks that it can write the logs when logging is switched on
        aws.s3.BucketLogging(
            self.child_name("bucket-logging"),
            bucket=data.id,
            target_bucket=logs.id,
            target_prefix=f"{self.logical_name}/",
            opts=self.child_options(depends_on=[delivery]),
        )
        safe = [guard.id for guard in guards]
        self._expose(after(data.id, safe), after(data.arn, safe), key.arn)

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        bucket: pulumi.Input[str],
        key_arn: pulumi.Input[str] | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Self:
        """Use an existing bucket: jobs get permissions on it, and the bucket does not change.

        `bucket`: its name. `key_arn`: the KMS key of its objects, if it is a customer managed key; jobs get permissions on it.
        """
        self, known = cls._register_existing(name, bucket, tags, opts, key_arn=key_arn)
        arn = pulumi.Output.all(known, look_up_partition(self)).apply(lambda words: f"arn:{words[1]}:s3:::{words[0]}")
        self._expose(known, arn, None if key_arn is None else pulumi.Output.from_input(key_arn))
        return self._register()

    def _expose(self, name: pulumi.Output[str], arn: pulumi.Output[str], key_arn: pulumi.Output[str] | None) -> None:
        self.name, self.arn, self.key_arn = name, arn, key_arn
        self.url = name.apply(lambda text: f"s3://{text}")

    def _private_bucket(self, suffix: str, key: EncryptionKey | None, deletes: bool) -> tuple[Any, list[Any]]:
        """Make a bucket and the settings that keep it private. `key`: None means S3's own key; access logs support no other."""
        name, options = self.child_name(suffix), self.child_options()
        bucket = aws.s3.Bucket(name, force_destroy=deletes, tags=self.aws_tags(suffix), opts=options)
        private = aws.s3.BucketPublicAccessBlock(f"{name}-private", bucket=bucket.id, **NO_PUBLIC_ACCESS, opts=options)
        owner = aws.s3.BucketOwnershipControls(f"{name}-owner", bucket=bucket.id, rule=_OWNER, opts=options)
        own = {"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn} if key else {"sse_algorithm": "AES256"}
        # with a bucket key, S3 makes one KMS request for many objects, which costs less
        rule = {"apply_server_side_encryption_by_default": own, **({"bucket_key_enabled": True} if key else {})}
        encryption = aws.s3.BucketServerSideEncryptionConfiguration(f"{name}-encryption", bucket=bucket.id, rules=[rule], opts=options)
        versions = aws.s3.BucketVersioning(f"{name}-versions", bucket=bucket.id, versioning_configuration=_VERSIONS, opts=options)
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.id,
            rules=data_lifecycle() if key else log_lifecycle(),
            opts=self.child_options(depends_on=[versions]),  # rules about versions need versioning
        )
        return bucket, [private, owner, encryption, versions]

    def _policy(self, suffix: str, bucket: Any, policy: pulumi.Output[str], guards: list[Any]) -> Any:
        """Add the bucket policy after `guards`, because S3 rejects some changes of a bucket while another change is in progress."""
        options = self.child_options(depends_on=list(guards))
        return aws.s3.BucketPolicy(f"{self.child_name(suffix)}-policy", bucket=bucket.id, policy=policy, opts=options)
