"""Compare two plans of a stack: what a change of its program or settings creates, deletes, costs and permits. A pure function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .document import Amount, Changed, ChangedResource, Changes, Line, Need, Plan, Planned

__all__ = ["changes"]

_ACCESS = ("iam", "roleassignment", "policy", "federatedidentity", "userassignedidentity", "serviceaccount")
"""Parts of the type tokens of resources that give access, in lower case."""


def changes(before: Plan, after: Plan, against: str) -> Changes:
    """Return the changes from one plan to another. `against`: the name of the first one, such as a git revision."""
    old, new = _by_urn(before), _by_urn(after)
    changed = [found for urn, one in old.items() if urn in new and (found := _changed_resource(one, new[urn])) is not None]
    created = [each for urn, each in new.items() if urn not in old]
    deleted = [each for urn, each in old.items() if urn not in new]
    return Changes(
        against=against,
        created=[each.urn for each in created],
        deleted=[each.urn for each in deleted],
        changed=changed,
        pools=list(_differing(_machines(before.money.lines), _machines(after.money.lines))),
        idle=Changed(name="USD per hour while no job runs", before=_dollars(before.money.idle), after=_dollars(after.money.idle)),
        full=Changed(name="USD per hour with every node on", before=_dollars(before.money.full), after=_dollars(after.money.full)),
        quota=list(_differing(_quotas(before.quota), _quotas(after.quota))),
        access=[
            *(f"+ {_named(each)}" for each in created if _gives_access(each.type)),
            *(f"- {_named(each)}" for each in deleted if _gives_access(each.type)),
            *(f"~ {each.name} ({each.type}): {', '.join(each.inputs)}" for each in changed if _gives_access(each.type)),
        ],
        policy=list(_differing({each.rule: each.outcome for each in before.policy}, {each.rule: each.outcome for each in after.policy})),
    )


def _by_urn(plan: Plan) -> dict[str, Planned]:
    return {resource.urn: resource for resource in plan.resources}


def _changed_resource(before: Planned, after: Planned) -> ChangedResource | None:
    """Return the names of the inputs that differ; None if all are equal. Two unknown values count as equal."""
    names = sorted(name for name in {*before.inputs, *after.inputs} if before.inputs.get(name) != after.inputs.get(name))
    return ChangedResource(urn=after.urn, type=after.type, name=after.name, inputs=names) if names else None


def _gives_access(token: str) -> bool:
    return any(part in token.lower().rpartition(":")[2] or f":{part}/" in token.lower() for part in _ACCESS)


def _named(resource: Planned) -> str:
    roles = [str(value) for key in ("role", "roleDefinitionId") if isinstance(value := resource.inputs.get(key), str)]
    return f"{resource.name} ({resource.type}){' ' + roles[0] if roles else ''}"


def _machines(lines: Sequence[Line]) -> dict[str, str]:
    return {line.name: line.what for line in lines}


def _quotas(needs: Sequence[Need]) -> dict[str, str]:
    return {f"{need.name}{f' in {need.region}' if need.region else ''}": f"{need.amount} {need.unit}" for need in needs}


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Changed]:
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield Changed(name=name, before=before.get(name), after=after.get(name))


def _dollars(amount: Amount) -> str:
    if amount.low == amount.high:
        return f"{amount.low:,.2f}"
    return f">={amount.low:,.2f}" if amount.high is None else f"{amount.low:,.2f} to {amount.high:,.2f}"
