"""The policy rules of a yard: pure functions. A violation makes `gpuyard plan` exit with 2; a warning does not."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from ..catalogue.services import alternatives
from ..registry import REGION_KEYS
from ..spec.waiver import PolicyRule, WaiverSpec
from .clouds import CLOUDS, PlanRules, RawCheck
from .cost import money
from .document import Money, RuleVerdict, Waived
from .finding import Finding, violation, warning
from .region_rules import region_conflicts
from .waivers import split, waiver_findings
from .yard import RecordedYard

__all__ = ["RULES", "PolicyInputs", "verdicts"]

_SOON = datetime.timedelta(days=3)


class PolicyInputs(NamedTuple):
    """The inputs of every rule."""

    yard: RecordedYard
    money: Money
    now: datetime.datetime


def verdicts(yard: RecordedYard, now: datetime.datetime, waivers: Sequence[WaiverSpec] = ()) -> list[RuleVerdict]:
    """Return the verdict of every rule, and of the stack's waivers if it has some. `now` must have a time zone."""
    inputs = PolicyInputs(yard, money(yard, now), now)
    findings = {name: list(rule(inputs)) for name, (_, rule) in RULES.items()}
    found = []
    for name, (what, _) in RULES.items():
        left, waived = split(name, findings[name], waivers, now.date())
        found.append(_verdict(name, what, left, waived))
    if waivers:
        about_waivers = list(waiver_findings(waivers, findings, now.date()))
        found.append(_verdict("waivers", "every waiver is valid and accepts a finding", about_waivers))
    return found


def _verdict(rule: str, what: str, findings: Sequence[Finding], waived: Sequence[Waived] = ()) -> RuleVerdict:
    levels = {finding.level for finding in findings}
    outcome: Literal["passed", "warning", "violated", "waived"]
    outcome = "violated" if "violated" in levels else "warning" if levels else "waived" if waived else "passed"
    return RuleVerdict(rule=rule, what=what, outcome=outcome, findings=[finding.text for finding in findings], waived=list(waived))


def _violations(check: Callable[[PlanRules], RawCheck]) -> Callable[[PolicyInputs], Iterator[Finding]]:
    """Return a rule that runs each cloud's own check."""
    return lambda inputs: (finding for rules in CLOUDS.values() for finding in check(rules)(inputs.yard))


def _one_region(inputs: PolicyInputs) -> Iterator[Finding]:
    yield from region_conflicts(inputs.yard)
    unknown = [pool for pool in inputs.yard.pools if pool.machine and pool.region is None]
    if unknown:
        names, keys = ", ".join(pool.name for pool in unknown), " or ".join(sorted({REGION_KEYS[pool.cloud] for pool in unknown}))
        yield warning(unknown, f"{names}: the region is unknown, so prices are unknown too; set {keys}, or the provider's region")


def _spot(inputs: PolicyInputs) -> Iterator[Finding]:
    spot = [pool for pool in inputs.yard.pools if pool.spec.mode == "spot"]
    if spot and not inputs.yard.named("Bucket"):
        text = f"{', '.join(pool.name for pool in spot)}: spot machines can be preempted and need a bucket for checkpoints; add a Bucket"
        yield Finding("violated", text, tuple(pool.urn for pool in spot))


def _together(inputs: PolicyInputs) -> Iterator[Finding]:
    for pool in inputs.yard.pools:
        spec = pool.spec
        if pool.machine and spec.mode not in pool.service.multi_node_modes:
            able = ", ".join(alternatives(spec.service, spec.mode, pool.cloud)) or "none"
            mode = spec.mode.replace("_", " ")
            text = f"{pool.name} takes single-node jobs only: {spec.service} has no multi-node {mode}; services that have it: {able}"
            yield warning([pool], text)


def _gpu_limit(inputs: PolicyInputs) -> Iterator[Finding]:
    limit = inputs.yard.limit("gpus")
    for pool in inputs.yard.pools:
        if limit is not None and pool.machine and pool.machine.gpus > limit:
            text = f"{pool.name}: limits.gpus is {limit:g}, but a node has {pool.machine.gpus} GPUs, so no job can run; raise limits.gpus"
            yield violation(pool, text)


def _money_limit(inputs: PolicyInputs) -> Iterator[Finding]:
    limit, budget = inputs.yard.limit("usd_per_job"), inputs.money.budget
    if limit is not None and budget is not None and limit > budget:
        yield Finding("warning", f"one job may cost {limit:,.0f} USD, the monthly budget is {budget:,.0f} USD; lower limits.usd_per_job")


def _owner(inputs: PolicyInputs) -> Iterator[Finding]:
    for pool in inputs.yard.pools:
        missing = [key for key in ("owner", "expires") if not pool.tags.get(key)]
        if missing and pool.machine:
            yield violation(pool, f"{pool.name}: no {' and no '.join(missing)}; set them as tags")
    expires = inputs.yard.expires
    if expires and expires != "never" and _is_past(expires, inputs.now):
        yield Finding("warning", f"the yard expired on {expires}: its pools are at zero nodes; set a later date")


def _is_past(date: str, now: datetime.datetime) -> bool:
    try:
        return datetime.date.fromisoformat(date) <= now.date()
    except ValueError:
        return False  # pools with different dates: "DATE and DATE"


def _budget(inputs: PolicyInputs) -> Iterator[Finding]:
    cost = inputs.money
    if not any(pool.machine for pool in inputs.yard.pools):
        return
    if cost.budget is None:
        yield Finding("warning", "no budget: nobody is alerted when spending rises; add gpuyard:budget or a Budget")
        return
    if cost.idle_month.low > cost.budget:
        text = f"a month in which no job runs costs {cost.idle_month.low:,.0f} USD, the budget is {cost.budget:,.0f} USD; raise the budget"
        yield Finding("violated", f"{text} or lower min_nodes")
    elif cost.idle_month.high is None or cost.idle_month.high > cost.budget:
        yield Finding(
            "warning", f"a month in which no job runs may cost more than the budget of {cost.budget:,.0f} USD: some prices are unknown"
        )
    elif cost.month.high is None or cost.month.high > cost.budget:
        yield Finding("warning", _over(cost))


def _over(cost: Money) -> str:
    hours = (
        f"; the budget pays {'at least ' if cost.hours.low != cost.hours.high else ''}{math.floor(cost.hours.low):,} h of it"
        if cost.hours and cost.hours.low >= 1
        else ""
    )
    verb = "may cost more" if cost.month.low <= (cost.budget or 0) else "costs more"
    return f"a full month {verb} than the budget of {cost.budget:,.0f} USD{hours}"


def _block_ends(inputs: PolicyInputs) -> Iterator[Finding]:
    for pool in inputs.yard.pools:
        ends = getattr(pool.spec.capacity, "ends", None)
        if ends is None:
            continue
        left = datetime.datetime.fromisoformat(ends) - inputs.now
        if left <= datetime.timedelta(0):
            yield warning([pool], f"{pool.name}: its capacity block ended at {ends}; set reservation and ends of the next block")
        elif left <= _SOON:
            yield warning([pool], f"{pool.name}: its capacity block ends at {ends}, in {left.total_seconds() / 3600:.0f} h")


def _image(inputs: PolicyInputs) -> Iterator[Finding]:
    loose = [pool for pool in inputs.yard.pools if pool.machine and pool.spec.image is None and pool.service.machine_image]
    if loose:
        yield warning(loose, f"{', '.join(pool.name for pool in loose)}: each `up` uses the newest machine image; `gpuyard pin` pins it")


Rule = Callable[[PolicyInputs], Iterator[Finding]]
RULES: dict[PolicyRule, tuple[str, Rule]] = {
    "no-public-address": ("no node has a public address", _violations(lambda rules: rules.public_addresses)),
    "no-inbound": ("no address outside the yard may connect to a node", _violations(lambda rules: rules.inbound_addresses)),
    "encryption": ("disks, buckets and logs are encrypted", _violations(lambda rules: rules.unencrypted)),
    "metadata-tokens": ("the metadata service requires tokens (AWS IMDSv2)", _violations(lambda rules: rules.open_metadata)),
    "one-region": ("zones, networks and job services are in the region of their pools", _one_region),
    "spot-checkpoints": ("spot machines have a bucket for checkpoints", _spot),
    "nodes-together": ("pools can run jobs of several nodes", _together),
    "gpu-limit": ("a node has no more GPUs than limits.gpus", _gpu_limit),
    "money-limit": ("limits.usd_per_job is within the monthly budget", _money_limit),
    "owner-and-expires": ("every pool has the tags owner and expires", _owner),
    "budget": ("the idle cost fits the budget", _budget),
    "capacity-block": ("no capacity block has ended or ends within 3 days", _block_ends),
    "pinned-image": ("machine images are pinned", _image),
}
