"""Check a yard against a cloud's rules before the first component exists, so that one run reports every problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...plain_data import PlainMapping
from ...problems import Problem
from ..job_targets import unused_submitter_problems
from ..naming import name_problems
from ..spec import BudgetSpec, GpuPoolSpec, NetworkSpec
from ..spec.fields import as_mapping
from .buckets import ExistingBucket

__all__ = ["CloudRules", "yard_problems"]

Problems = Sequence[Problem]


@dataclass(frozen=True)
class CloudRules:
    """The checks of one cloud. Each check takes the user's values, not validated, and returns problems."""

    network: Callable[[PlainMapping, str | None], Problems]
    """Arguments: the fields of a new network, and the stack's region."""
    existing_network: Callable[[str, Mapping[str, str]], Problems]
    """Arguments: the id of an existing network, and its subnet ids by zone."""
    existing_bucket: Callable[[ExistingBucket], Problems]
    pool: Callable[[PlainMapping, Sequence[str], str | None, str | None], Problems]
    """Arguments: a pool's fields, the network's zones, the network's egress (None: an existing network), the tag `expires`."""
    submitters: Callable[[Sequence[str]], Problems]
    tags: Callable[[PlainMapping], Problems]
    budget: Callable[[Any, Any, Sequence[Any]], Problems]
    """Arguments: the owner, the USD per month, the alert percentages."""
    region: Callable[[str | None], Problems] = lambda _region: []
    """Argument: the stack's region; None: the stack file does not set it. Its problems have the provider's key, such as aws:region."""


def yard_problems(
    rules: CloudRules,
    *,
    region: str | None,
    network: NetworkSpec,
    existing_network: tuple[str, Mapping[str, str]] | None,
    existing_buckets: Mapping[str, ExistingBucket],
    pools: Mapping[str, GpuPoolSpec],
    submitters: Sequence[str],
    budget: BudgetSpec | None,
    owner: str | None,
    tags: Mapping[str, str],
) -> list[Problem]:
    """Return every problem of a yard, each under its key in the stack file. `existing_network`: network id and subnet ids by zone."""
    found = [*rules.region(region)]
    if existing_network:
        zones, egress = list(existing_network[1]), None
        found += _under("network.existing", rules.existing_network(*existing_network))
    else:
        zones, egress = network.zones, network.egress
        found += _under("network", rules.network(as_mapping(network), region))
    for name, bucket in existing_buckets.items():
        found += _under(f"buckets.{name}", rules.existing_bucket(bucket))
    for name, spec in pools.items():
        pool = rules.pool(as_mapping(spec), zones, egress, tags.get("expires"))
        found += _under(f"pools.{name}", [*name_problems(name), *pool])
    jobless = [name for name, spec in pools.items() if spec.service == "vms"]
    found += [*rules.submitters(submitters), *unused_submitter_problems(list(pools), jobless, submitters), *rules.tags(tags)]
    if budget is not None:
        problems = rules.budget(owner, budget.usd_per_month, budget.alert_at_percent)
        found += (problem if problem.key == "owner" else problem.under("budget") for problem in problems)
    return found


def _under(parent: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    return (problem.under(parent) for problem in problems)
