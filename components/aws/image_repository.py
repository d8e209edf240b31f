"""A private ECR repository for the container images of jobs."""

from __future__ import annotations

import json
from typing import Literal

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict
from ..base import Tags, keywords_only, validate_spec
from ..naming import name_problems
from ..spec import RepositorySpec
from .account import AwsComponent

__all__ = ["ImageRepository", "lifecycle_policy"]

_UNTAGGED_DAYS = 30


class ImageRepository(AwsComponent):
    """A private ECR repository: tags are immutable, images are encrypted and scanned at push, untagged images expire after 30 days.

    Machines and jobs of the account may pull from it. Tagged images never expire, because jobs name them by digest.
    """

    url: pulumi.Output[str]
    """Address to tag and push to, without a tag."""

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        on_destroy: Literal["keep", "delete"] = "keep",
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the repository. `on_destroy`: keep (default) keeps it and its images when the yard is destroyed; delete removes both."""
        given = {"on_destroy": on_destroy}
        spec = validate_spec(RepositorySpec, given, f"ImageRepository {name}", self.cloud, name_problems(name))
        if spec.on_destroy == "keep":
            opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(retain_on_delete=True))
        super().__init__("ImageRepository", name, given, tags, opts)
        repository = aws.ecr.Repository(
            self.child_name("repository"),
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            encryption_configurations=[{"encryption_type": "KMS"}],  # under AWS's own key for ECR
            force_delete=spec.on_destroy == "delete",
            tags=self.aws_tags("repository"),
            opts=self.child_options(),
        )
        aws.ecr.LifecyclePolicy(
            self.child_name("lifecycle"), repository=repository.name, policy=json.dumps(lifecycle_policy()), opts=self.child_options()
        )
        self.url = repository.repository_url
        self.register_outputs({"url": self.url})


def lifecycle_policy() -> PlainDict:
    """Return the lifecycle policy: untagged images expire some days after their push."""
    older = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": _UNTAGGED_DAYS}
    return {"rules": [{"rulePriority": 1, "selection": older, "action": {"type": "expire"}}]}
