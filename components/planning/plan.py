"""Build the plan of a recorded yard: resources, cost, quota, fabric and policy verdicts in one document."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence

from gpuyard.counts import counted

from ..spec.waiver import WaiverSpec
from ..validation.submitters import pipelines_of
from .clouds import CLOUDS
from .cost import money
from .document import Branch, Plan, Planned, Unknowns
from .marked_inputs import marked_inputs
from .policy import verdicts
from .quota import fabrics, needs
from .yard import RecordedComponent, RecordedPool, RecordedYard

__all__ = ["make_plan"]


def make_plan(
    yard: RecordedYard,
    now: datetime.datetime,
    encrypted: Sequence[str] = (),
    environments: Sequence[str] = (),
    waivers: Sequence[WaiverSpec] = (),
) -> Plan:
    """Return the plan of a recorded yard.

    `now` decides which pools have ended. `encrypted`: keys of encrypted configuration. `environments`: the stack's ESC environments.
    `waivers`: accepted findings.
    """
    recording = yard.recording
    return Plan(
        project=yard.project,
        stack=yard.stack,
        clouds=yard.clouds,
        region=yard.region,
        owner=yard.owner,
        expires=yard.expires,
        tree=_tree(yard),
        money=money(yard, now),
        quota=needs(yard, now),
        fabric=fabrics(yard),
        policy=verdicts(yard, now, waivers),
        unknown=Unknowns(
            lookups=sorted(set(recording.lookups)),
            references=sorted(set(recording.references)),
            reads=sorted(set(recording.reads)),
            encrypted=sorted(encrypted),
            environments=list(environments),
        ),
        problems=list(recording.problems),
        warnings=list(recording.warnings),
        resources=_resources(yard),
    )


def _resources(yard: RecordedYard) -> list[Planned]:
    requests = yard.recording.resources
    return [
        Planned(urn=each.urn, type=each.kind, name=each.name, inputs=marked_inputs(requests[each.urn].object)) for each in yard.resources
    ]


def _tree(yard: RecordedYard) -> list[Branch]:
    """Return a branch for each top-level component of gpuyard, then a branch for each type of the other top-level resources."""
    below = _below(yard)
    components = {component.urn: component for component in yard.components}
    pools = {pool.name: pool for pool in yard.pools}
    branches, others = [], Counter[str]()
    for resource in yard.resources:
        if resource.urn in below and resource.urn in components:
            found = components[resource.urn]
            what = _DETAILS.get(found.kind, _nothing)(found, pools.get(found.name), below[resource.urn])
            branches.append(Branch(kind=found.kind, name=found.name, what=what, resources=below[resource.urn].total()))
        elif resource.urn in below:
            others[resource.kind] += below[resource.urn].total()
    branches.sort(key=lambda branch: (list(_DETAILS).index(branch.kind) if branch.kind in _DETAILS else -1, branch.name))
    return branches + [Branch(kind=kind, name="", what="", resources=number) for kind, number in others.items()]


def _below(yard: RecordedYard) -> dict[str, Counter[str]]:
    """Return the number of resources by type below each top-level resource, including the resource itself."""
    parents = {resource.urn: resource.parent for resource in yard.resources}
    below: dict[str, Counter[str]] = {}
    for resource in yard.resources:
        top = resource.urn
        while parents.get(top) in parents:
            top = parents[top]
        below.setdefault(top, Counter())[resource.kind] += 1
    return below


def _nothing(component: RecordedComponent, pool: RecordedPool | None, below: Mapping[str, int]) -> str:
    return ""


def _network(component: RecordedComponent, pool: RecordedPool | None, below: Mapping[str, int]) -> str:
    rules, zones = CLOUDS.get(component.cloud), component.inputs.get("zones", [])
    if rules is None:
        return str(component.inputs.get("cidr", "loopback addresses"))
    if not below.get(rules.network):
        return "adopted"
    nats = below.get(rules.nat)
    return _listed(
        str(component.inputs.get("cidr") or "10.0.0.0/16"),
        rules.subnets(zones) if isinstance(zones, list) else "",
        f"egress {component.inputs.get('egress') or 'nat'}",
        f"{nats} NAT" if nats else "",
    )


def _bucket(component: RecordedComponent, pool: RecordedPool | None, below: Mapping[str, int]) -> str:
    rules, ends = CLOUDS.get(component.cloud), f"on_destroy {component.inputs.get('on_destroy') or 'keep'}"
    if rules is None:
        return "adopted" if component.inputs.get("existing") else ends
    return _listed(*rules.traits(component, below), ends) if below.get(rules.bucket) else "adopted"


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _gpu_pool(component: RecordedComponent, pool: RecordedPool | None, below: Mapping[str, int]) -> str:
    if pool is None:
        return "spec not known before `pulumi up`"
    spec = pool.spec
    if pool.machine is None:
        return f"{counted(spec.max_nodes, 'node')} on this machine"
    zone = f", {spec.zone}" if spec.zone else ""
    return f"{spec.min_nodes}..{spec.max_nodes} {pool.machine.name}{zone}, {spec.service}, {spec.mode.replace('_', ' ')}"


def _job_service(component: RecordedComponent, pool: RecordedPool | None, below: Mapping[str, int]) -> str:
    submitters = component.inputs.get("submitters") or []
    number = len(pipelines_of([str(each) for each in submitters])) if isinstance(submitters, list) else 0
    if component.cloud == "local":
        return "jobs of this machine's users"
    shares = component.inputs.get("shares")
    divided = f", shares {', '.join(f'{team} {share}' for team, share in shares.items())}" if isinstance(shares, Mapping) and shares else ""
    return f"jobs from people and {counted(number, 'pipeline')}{divided}"


def _budget(component: RecordedComponent, pool: RecordedPool | None, below: Mapping[str, int]) -> str:
    amount = component.inputs.get("usd_per_month")
    return f"{amount:,.0f} USD a month" if isinstance(amount, int | float) else ""


_DETAILS = {"Network": _network, "Bucket": _bucket, "GpuPool": _gpu_pool, "JobService": _job_service, "Budget": _budget}
