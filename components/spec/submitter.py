"""The spec of a CI pipeline that may submit jobs although nobody has reviewed its code."""

from __future__ import annotations

from pydantic import Field

from .fields import Spec

__all__ = ["OpenSubmitter"]


class OpenSubmitter(Spec):
    """A token subject for several branches or for pull requests. It admits code that nobody has reviewed."""

    subject: str = Field(min_length=1, description="GitHub token subject that ends in * or in :pull_request")
    reason: str = Field(min_length=10, description="why this code may submit jobs, for the reviewer of the stack file")
