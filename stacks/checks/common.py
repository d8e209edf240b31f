"""Checks of a stack that are the same on every cloud: quotas to request, and targets.json."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator

from gpuyard.components.planning.document import Need
from gpuyard.components.planning.quota import needs
from gpuyard.components.validation.submitters import pipelines_of
from gpuyard.run_bucket import TARGETS
from gpuyard.training_jobs.errors import GpuyardError
from gpuyard.training_jobs.store import open_store
from gpuyard.training_jobs.target import parse_targets

from .check import Check, StackFacts

__all__ = ["adopted", "has_pipelines", "images", "quotas_to_request", "run_checks", "targets_check"]


def run_checks(rows: Iterable[tuple[str, Callable[[], Check | None]]]) -> Iterator[Check]:
    """Run each check. If the cloud refuses a call, this check fails and the other checks still run."""
    for name, check in rows:
        try:
            found = check()
        except GpuyardError as error:
            found = Check(name, False, f"cannot be checked: {str(error).splitlines()[0]}", "ask for this permission, or check it yourself")
        if found is not None:
            yield found


def has_pipelines(facts: StackFacts) -> bool:
    """Return whether a pipeline may submit, which needs the cloud's trust in GitHub's tokens."""
    given = [service.inputs.get("submitters") for service in facts.yard.named("JobService")]
    return any(pipelines_of([str(each) for each in found]) for found in given if isinstance(found, list))


def quotas_to_request(facts: StackFacts, region: str) -> list[Need]:
    """Return the quotas to request in the stack's region. Pools of another provider's region are not checked."""
    found = needs(facts.yard, datetime.datetime.now(datetime.UTC))
    return [need for need in found if need.granted is None and need.region in (None, region)]


def targets_check(facts: StackFacts, fix: str | None = None) -> Check:
    """Return whether targets.json in the run bucket has the stack's targets. `fix`: the command that writes it, default `pulumi up`."""
    if not facts.targets:
        return Check("targets.json", True, "the stack is not up" if facts.targets is None else "no pool takes jobs", None)
    first = next(iter(facts.targets.values()))
    url = f"{first.run_bucket}/{TARGETS}"
    stored = open_store(first.run_bucket).read(TARGETS)
    data = stored[0] if stored else None
    if data is not None and parse_targets(data.decode("utf-8"), url) == facts.targets:
        return Check("targets.json", True, f"{url} is the stack's", None)
    what = "is missing" if data is None else "differs from the stack's job_targets"
    return Check("targets.json", False, f"{url} {what}", fix or f"pulumi up --refresh --stack {facts.yard.stack}")


def images(facts: StackFacts) -> list[str]:
    """Return the default images of jobs."""
    found = (component.inputs.get("image") for component in facts.yard.named("JobService"))
    return sorted({image for image in found if isinstance(image, str)})


def adopted(facts: StackFacts, key: str) -> list[str]:
    """Return the values of an input, such as `key_arn`, of all existing buckets."""
    found = (component.inputs.get(key) for component in facts.yard.named("Bucket") if "existing" in component.inputs)
    return sorted({value for value in found if isinstance(value, str)})
