"""All that a cloud would refuse of a stack's yard, told together before anything is made: what each component asks, asked first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..job_targets import idle_submitter_problems
from ..naming import name_problems
from ..spec import BudgetSpec, GpuPoolSpec, NetworkSpec
from ..spec.fields import as_given

Problems = list[str]


@dataclass(frozen=True)
class Checks:
    """What a cloud's components ask of what they are given; each returns a line for each problem. A `given` is what a user wrote."""

    network: Callable[[Mapping[str, Any], str | None], Problems]
    """Of a network to be made, and the region that the stack states."""
    existing_network: Callable[[str, Mapping[str, str], str | None], Problems]
    """Of one that is there: its id, its subnets by zone, and the region."""
    existing_bucket: Callable[[str], Problems]
    pool: Callable[[Mapping[str, Any], Sequence[str], str | None, str | None], Problems]
    """Of a pool, the network's zones, its egress (None: an existing network's own way) and the tag `expires`."""
    submitters: Callable[[Sequence[str]], Problems]
    tags: Callable[[Mapping[str, Any]], Problems]
    budget: Callable[[Any, Any, Sequence[Any]], Problems]
    """Of the owner, the USD per month and the percentages."""


def yard_problems(
    checks: Checks,
    *,
    region: str | None,
    network: NetworkSpec,
    existing_network: tuple[str, Mapping[str, str]] | None,
    existing_buckets: Mapping[str, str],
    pools: Mapping[str, GpuPoolSpec],
    submitters: Sequence[str],
    budget: BudgetSpec | None,
    owner: str | None,
    tags: Mapping[str, str],
) -> Problems:
    """A line for each problem, beginning with what it is about; none: ask the cloud. `existing_network`: id, and subnet by zone."""
    zones, egress = (list(existing_network[1]), None) if existing_network else (network.zones, network.egress)
    about = checks.existing_network(*existing_network, region) if existing_network else checks.network(as_given(network), region)
    found = [*_named("network", about)]
    for name, bucket in existing_buckets.items():
        found += _named(f"buckets.{name}", checks.existing_bucket(bucket))
    for name, spec in pools.items():
        asked = checks.pool(as_given(spec), zones, egress, tags.get("expires"))
        found += _named(f"pools.{name}", [*name_problems(name), *asked])
    jobless = [name for name, spec in pools.items() if spec.service == "vms"]
    found += [*checks.submitters(submitters), *idle_submitter_problems(list(pools), jobless, submitters), *checks.tags(tags)]
    if budget is not None:
        found += _named("budget", checks.budget(owner, budget.usd_per_month, budget.alert_at_percent))
    return found


def _named(subject: str, lines: Sequence[str]) -> Iterator[str]:
    return (f"{subject}: {line}" for line in lines)
