"""What a yard must keep to: one pure rule each, over facts alone. A violation stops a pipeline (exit 2), a warning is told."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from ..catalogue.services import alternatives
from .clouds import CLOUDS, CloudRules, Look
from .cost import money
from .document import Money, Verdict
from .yard import Yard

_SOON = datetime.timedelta(days=3)
Level = Literal["violated", "warning"]


class Finding(NamedTuple):
    """One thing that a rule has to say."""

    level: Level
    text: str


class Case(NamedTuple):
    """What rules look at."""

    yard: Yard
    money: Money
    now: datetime.datetime


def verdicts(yard: Yard, now: datetime.datetime) -> list[Verdict]:
    """Every rule's, always all of them. `now` has a time zone."""
    case = Case(yard, money(yard), now)
    found = []
    for name, (what, rule) in RULES.items():
        told = list(rule(case))
        levels = {finding.level for finding in told}
        outcome: Literal["passed", "warning", "violated"] = "violated" if "violated" in levels else "warning" if levels else "passed"
        found.append(Verdict(rule=name, what=what, outcome=outcome, findings=[finding.text for finding in told]))
    return found


def _violations(look: Callable[[CloudRules], Look]) -> Callable[[Case], Iterator[Finding]]:
    """A rule that each cloud's own file words."""
    return lambda case: (Finding("violated", text) for rules in CLOUDS.values() for text in look(rules)(case.yard))


def _spot(case: Case) -> Iterator[Finding]:
    spot = [pool.name for pool in case.yard.pools if pool.spec.mode == "spot"]
    if spot and not case.yard.named("Bucket"):
        yield Finding("violated", f"{', '.join(spot)}: spot machines are taken back, and there is no bucket for checkpoints; add a Bucket")


def _together(case: Case) -> Iterator[Finding]:
    for pool in case.yard.pools:
        spec = pool.spec
        if pool.machine and spec.mode not in pool.service.multi_node_modes:
            able = " or ".join(alternatives(spec.service, spec.mode, pool.cloud)) or "no service"
            words = spec.mode.replace("_", " ")
            yield Finding("warning", f"{pool.name} takes single-node jobs only ({spec.service} has no multi-node {words}; {able} has)")


def _gpu_limit(case: Case) -> Iterator[Finding]:
    limit = case.yard.limit("gpus")
    for pool in case.yard.pools:
        if limit is not None and pool.machine and pool.machine.gpus > limit:
            text = f"{pool.name}: a node has {pool.machine.gpus} GPUs and a job may take {limit:g}: no job can run there; raise limits.gpus"
            yield Finding("violated", text)


def _money_limit(case: Case) -> Iterator[Finding]:
    limit, budget = case.yard.limit("usd_per_job"), case.money.budget
    if limit is not None and budget is not None and limit > budget:
        yield Finding("warning", f"one job may cost {limit:,.0f} USD, the budget of a month is {budget:,.0f}; lower limits.usd_per_job")


def _owner(case: Case) -> Iterator[Finding]:
    for pool in case.yard.pools:
        missing = [key for key in ("owner", "expires") if not pool.tags.get(key)]
        if missing and pool.machine:
            yield Finding("violated", f"{pool.name}: no {' and no '.join(missing)}; give them as tags: machines cost money")
    expires = case.yard.expires
    if expires and expires != "never" and _is_past(expires, case.now):
        yield Finding("warning", f"the yard expired on {expires}: its pools are at zero nodes")


def _is_past(date: str, now: datetime.datetime) -> bool:
    try:
        return datetime.date.fromisoformat(date) <= now.date()
    except ValueError:
        return False  # several dates: each pool has its own


def _budget(case: Case) -> Iterator[Finding]:
    cost = case.money
    if not any(pool.machine for pool in case.yard.pools):
        return
    if cost.budget is None:
        yield Finding("warning", "no budget: nobody is mailed when the yard gets dear")
        return
    if cost.idle_month.low > cost.budget:
        yield Finding("violated", f"a month in which no job runs costs {cost.idle_month.low:,.0f} USD, the budget is {cost.budget:,.0f}")
    elif cost.idle_month.high is None or cost.idle_month.high > cost.budget:
        yield Finding(
            "warning", f"a month in which no job runs may cost more than the budget of {cost.budget:,.0f} USD: prices are not known"
        )
    elif cost.month.high is None or cost.month.high > cost.budget:
        yield Finding("warning", _over(cost))


def _over(cost: Money) -> str:
    fits = (
        f"; it pays {'at least ' if cost.hours.low != cost.hours.high else ''}{math.floor(cost.hours.low):,} h of that"
        if cost.hours and cost.hours.low >= 1
        else ""
    )
    how = "may cost more" if cost.month.low <= (cost.budget or 0) else "costs more"
    return f"a full month {how} than the budget of {cost.budget:,.0f} USD{fits}"


def _block_ends(case: Case) -> Iterator[Finding]:
    for pool in case.yard.pools:
        ends = getattr(pool.spec.capacity, "ends", None)
        if ends is None:
            continue
        left = datetime.datetime.fromisoformat(ends) - case.now
        if left <= datetime.timedelta(0):
            yield Finding("warning", f"{pool.name}: its capacity block ended at {ends}; give the next one's reservation and end")
        elif left <= _SOON:
            yield Finding("warning", f"{pool.name}: its capacity block ends at {ends}, in {left.total_seconds() / 3600:.0f} h")


def _image(case: Case) -> Iterator[Finding]:
    loose = [pool.name for pool in case.yard.pools if pool.machine and pool.spec.image is None and pool.service.machine_image]
    if loose:
        yield Finding("warning", f"{', '.join(loose)}: the machine image is the newest at each `up`; `gpuyard pin` writes it down")


Rule = Callable[[Case], Iterator[Finding]]
RULES: dict[str, tuple[str, Rule]] = {
    "no-public-address": ("no node has a public address", _violations(lambda rules: rules.public_addresses)),
    "no-inbound": ("no address outside may connect to a node", _violations(lambda rules: rules.inbound_addresses)),
    "encryption": ("disks, buckets and logs are encrypted", _violations(lambda rules: rules.unencrypted)),
    "metadata-tokens": ("the metadata service answers to tokens alone (IMDSv2)", _violations(lambda rules: rules.open_metadata)),
    "spot-checkpoints": ("spot machines have a bucket for checkpoints", _spot),
    "nodes-together": ("pools take jobs of several nodes", _together),
    "gpu-limit": ("the GPU limit leaves every pool usable", _gpu_limit),
    "money-limit": ("one job cannot cost more than the month's budget", _money_limit),
    "owner-and-expires": ("every pool has an owner and an end", _owner),
    "budget": ("the idle cost fits the budget", _budget),
    "capacity-block": ("no capacity block has ended or ends soon", _block_ends),
    "pinned-image": ("machine images are pinned", _image),
}
