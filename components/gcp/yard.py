"""All that Google would refuse of a stack's yard, told together before anything is made: what each component asks, asked first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..base import as_given
from ..naming import name_problems
from ..spec import BudgetSpec, GpuPoolSpec, NetworkSpec
from ..submitters import subject_problems
from ..targets import idle_submitter_problems
from .bucket_rules import existing_problems
from .budget import budget_problems
from .cidr import spec_problems
from .labels import tag_problems
from .network import id_problems
from .pool_rules import pool_problems


def yard_problems(
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
) -> list[str]:
    """A line for each problem, beginning with what it is about; none: Google can be asked. `existing_network`: id, and subnet by zone."""
    zones = list(existing_network[1]) if existing_network else network.zones
    found = [
        *_named("network", _network(region, network, existing_network)),
        *(line for name, bucket in existing_buckets.items() for line in _named(f"buckets.{name}", existing_problems(bucket))),
        *(line for name, spec in pools.items() for line in _named(f"pools.{name}", _pool(name, spec, zones, tags))),
        *subject_problems(submitters),
        *idle_submitter_problems(list(pools), [name for name, spec in pools.items() if spec.service == "vms"], submitters),
        *tag_problems(tags),
    ]
    if budget is not None:
        found += _named("budget", budget_problems(owner, budget.usd_per_month, budget.alert_at_percent))
    return found


def _network(region: str | None, network: NetworkSpec, existing: tuple[str, Mapping[str, str]] | None) -> list[str]:
    if existing is None:
        return spec_problems(as_given(network), region)
    vpc, subnets = existing
    return [
        *id_problems("vpc_id", vpc, "networks"),
        *(line for zone, subnet in subnets.items() for line in id_problems(zone, subnet, "subnetworks")),
    ]


def _pool(name: str, spec: GpuPoolSpec, zones: Sequence[str], tags: Mapping[str, str]) -> list[str]:
    return [*name_problems(name), *pool_problems(as_given(spec), "net", zones, tags.get("expires"))]


def _named(subject: str, lines: Sequence[str]) -> Iterator[str]:
    return (f"{subject}: {line}" for line in lines)
