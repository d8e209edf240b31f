"""A bucket of an AWS yard: S3, private, encrypted, versioned; or an existing one, used as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from ..base import Tags
from ..spec import BucketSpec
from .account import AwsComponent
from .key import EncryptionKey


class Bucket(AwsComponent):
    """A private S3 bucket; or an existing one (`adopt`), never changed."""

    name: pulumi.Output[str]
    url: pulumi.Output[str]
    """Its fsspec URL: s3://name."""
    arn: pulumi.Output[str]
    key_arn: pulumi.Output[str] | None
    """The key its objects are under; None: an adopted bucket whose key was not told."""

    def __init__(
        self,
        name: str,
        spec: BucketSpec | Mapping[str, Any] | None = None,
        *,
        key: EncryptionKey | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the bucket; `spec` defaults to keeping it and its data on destroy, `key` to one of its own."""
        raise NotImplementedError

    @classmethod
    def adopt(
        cls,
        name: str,
        *,
        bucket: pulumi.Input[str],
        key_arn: pulumi.Input[str] | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> Bucket:
        """Use an existing bucket: jobs are granted what they need, the bucket is not changed."""
        raise NotImplementedError
