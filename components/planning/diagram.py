"""Draw a plan's yard as a Mermaid flowchart: networks, pools, job services, buckets and roles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .document import Branch, Plan, Planned
from .layout import short_tokens

__all__ = ["diagram"]

_COMPONENT = re.compile(r"gpuyard-[a-z]+:index:([A-Za-z]+)")
_GROUPS = {"Network": "networks", "GpuPool": "pools", "JobService": "job services", "Bucket": "buckets", "Identity": "roles"}


def diagram(plan: Plan) -> list[str]:
    """Return the lines of the flowchart; none if the plan has no pool.

    An arrow goes from a job service to its pools, and from a role to the component that it was made for. A plan does not know
    which buckets a role may use, so buckets have no arrows.
    """
    components = {kind: _of_kind(plan, kind) for kind in _GROUPS}
    if not components["GpuPool"]:
        return []
    labels = {(branch.kind, branch.name): branch for branch in plan.tree}
    ids: dict[tuple[str, str], str] = {}
    lines = ["flowchart LR"]
    for kind, title in _GROUPS.items():
        if components[kind]:
            lines.append(f'  subgraph {kind}["{title}"]')
            for each in components[kind]:
                ids[kind, each.name] = f"n{len(ids)}"
                lines.append(f'    {ids[kind, each.name]}["{_label(each, labels.get((kind, each.name)))}"]')
            lines.append("  end")
    return [*lines, *(f"  {ids[one]} --> {ids[other]}" for one, other in _arrows(components) if one in ids and other in ids)]


def _of_kind(plan: Plan, kind: str) -> list[Planned]:
    found = ((each, _COMPONENT.fullmatch(each.type)) for each in plan.resources)
    return sorted((each for each, match in found if match and match[1] == kind), key=lambda each: each.name)


def _label(resource: Planned, branch: Branch | None) -> str:
    trust = resource.inputs.get("trust")
    detail = branch.what if branch and branch.what else f"for {trust}" if isinstance(trust, str) else ""
    return _escaped(f"{resource.name}: {short_tokens(detail)}" if detail else resource.name)


def _arrows(components: Mapping[str, list[Planned]]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    for service in components["JobService"]:
        pools = service.inputs.get("pools")
        yield from ((("JobService", service.name), ("GpuPool", str(name))) for name in (pools if isinstance(pools, list) else []))
    owners = [(kind, each.name) for kind in ("Network", "GpuPool", "JobService", "Bucket") for each in components[kind]]
    for role in components["Identity"]:
        near = [owner for owner in owners if role.name.startswith(f"{owner[1]}-")]
        if near:  # children are named PARENT-SUFFIX, and l4-spot is nearer than l4
            yield ("Identity", role.name), max(near, key=lambda owner: len(owner[1]))


def _escaped(text: str) -> str:
    """Return a label in which every character that Mermaid, HTML or a Markdown fence interprets is an entity of Mermaid."""
    line = " ".join(text.splitlines())
    return re.sub(r"[^\w .,:/()+-]", lambda found: f"#{ord(found[0])};", line)
