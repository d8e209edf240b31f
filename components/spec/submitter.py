"""The spec of a CI pipeline that may submit jobs, with more than its token subject."""

from __future__ import annotations

from pydantic import Field

from .fields import Spec

__all__ = ["SubmitterSpec"]


class SubmitterSpec(Spec):
    """A token subject with a reason, if it admits code that nobody has reviewed, or with its repository's id."""

    subject: str = Field(min_length=1, description="GitHub token subject; one that ends in * or in :pull_request needs a reason")
    reason: str | None = Field(
        None, min_length=10, description="why unreviewed code may submit jobs, for the reviewer of the stack file; default: none"
    )
    repository_id: int | None = Field(
        None,
        ge=1,
        description="gcp: number of the GitHub repository (`gh api repos/ORG/NAME --jq .id`), so that a later repository with the same "
        "name is refused; default: only the name counts",
    )
