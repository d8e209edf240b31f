"""Combine the targets of several job services into one stack output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pulumi

from ..problems import Problem
from .base import refuse
from .job_service_base import JobServiceBase
from .job_targets import TargetData

__all__ = ["job_targets"]
_FIXES = {
    "pools": "rename one, because a job names its pool alone",
    "writes": "give each service a run bucket of its own, because it writes gpuyard/targets.json there",
}


def job_targets(*services: JobServiceBase[Any, Any]) -> pulumi.Output[dict[str, TargetData]]:
    """Return the targets of all pools of several job services, for the stack output `job_targets`.

        pulumi.export("job_targets", job_targets(train, research))

    Raises pulumi.RunError if two services have the same run bucket, or pools with the same name.
    """
    pools = (pool for service in services for pool in service.pool_names)
    refuse("job_targets", [*_repeated("pools", pools), *_repeated("writes", (service.run_bucket_name for service in services))])

    def merged(parts: Sequence[Mapping[str, TargetData]]) -> dict[str, TargetData]:
        urls = (url for part in parts for url in {target["run_bucket"] for target in part.values()})
        refuse("job_targets", _repeated("writes", urls))  # a bucket that was adopted under two names
        return {pool: target for part in parts for pool, target in part.items()}

    return pulumi.Output.all(*(service.targets for service in services)).apply(merged)


def _repeated(key: str, names: Iterable[str]) -> list[Problem]:
    again = sorted(name for name, count in Counter(names).items() if count > 1)
    return [Problem(key, "the same in two job services", ", ".join(again), "each name once", _FIXES[key])] if again else []
