"""Reads `gpuyard:waivers`, the accepted findings of `gpuyard plan`, from a stack file. Programs of your own have them too."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import Field, ValidationError

from gpuyard.components.spec import Spec, WaiverSpec
from gpuyard.problems import Problem, problems_from, show
from gpuyard.training_jobs.errors import UsageError

from .settings import NAMESPACE

__all__ = ["waivers"]

_KEY = f"{NAMESPACE}waivers"


class _Waivers(Spec):
    waivers: list[WaiverSpec] = Field(description="a list of {rule, urn, reason, until}")


def waivers(config: Mapping[str, str], *, stack: str) -> list[WaiverSpec]:
    """Return the waivers in a stack's configuration. Raises UsageError with every problem."""
    text = config.get(_KEY, "[]")
    try:
        return _Waivers.model_validate({"waivers": json.loads(text)}).waivers
    except ValidationError as error:
        problems = problems_from(error, _Waivers, NAMESPACE)
    except ValueError:
        problems = [Problem(_KEY, "wrong value", show(text), "a list in YAML", "write a list of {rule, urn, reason, until}")]
    raise UsageError(f"the waivers of stack {stack} are not valid", problems)
