"""Render a plan as text for a terminal or as Markdown for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpuyard.counts import counted

from .diagram import diagram
from .document import Changes, Fabric, Line, Money, Need, Plan
from .layout import columns, hours, rate, short_tokens, whole, wrapped

__all__ = ["change_rows", "markdown", "policy_summary", "styled", "text"]

_ALARM = {"VIOLATED", "REFUSED"}
_NOTICE = {"WARN", "warning", "warns:"}


class _Section(NamedTuple):
    heading: str
    rows: Sequence[Sequence[str]] = ()
    """Cells of each row. A row with only one cell is a sentence."""
    wrap: int = 0
    """The column whose cell continues on the next lines if a row is too long."""


def text(plan: Plan) -> str:
    """Return the plan as `gpuyard plan` prints it: lines of at most 100 columns, without trailing spaces."""
    lines = [*_head(plan), *_changes(plan.changes), *_tree(plan), *_money(plan.money)]
    for section in _sections(plan):
        lines += wrapped(section.heading, hanging=2)
        if section.wrap:
            lines += columns([[f"  {row[0]}", *row[1:]] for row in section.rows], wrap=section.wrap)
        else:
            lines += [line for row in section.rows for line in wrapped("  " + "  ".join(row), hanging=4)]
    return "\n".join([*lines, *([f"nonce  {plan.nonce}"] if plan.nonce else [])])


def styled(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return each line of the text with its rich style: bold red for a violation or problem, yellow for a warning, else none.

    A continuation line has the style of its first line.
    """
    found: list[tuple[str, str]] = []
    for line in lines:
        words = set(line.split())
        style = "bold red" if words & _ALARM else "yellow" if words & _NOTICE else ""
        continues = bool(found) and line.startswith(" " * 6) and bool(found[-1][1])
        found.append((line, found[-1][1] if continues else style))
    return found


def _head(plan: Plan) -> list[str]:
    where = " ".join([*plan.clouds, plan.region or ""]).strip() or "no cloud"
    known = [plan.stack, where, f"owner {plan.owner}" if plan.owner else "", f"expires {plan.expires}" if plan.expires else ""]
    return wrapped(f"{'  '.join(part for part in known if part)}   {counted(len(plan.resources), 'resource')}", hanging=2)


def _changes(changes: Changes | None) -> list[str]:
    """Return the lines about the changes; none without an earlier plan."""
    if changes is None:
        return []
    summary, resources = change_rows(changes)
    return [line for row in (*summary, *resources) for line in wrapped(row, hanging=6)]


def change_rows(changes: Changes) -> tuple[list[str], list[str]]:
    """Return the summary of the changes, with its heading, and one row for each resource."""
    counts = f"{len(changes.created)} created, {len(changes.changed)} changed, {len(changes.deleted)} deleted"
    summary = [f"changes against {changes.against}: {counts}"]
    for name, found in (("idle", changes.idle), ("full", changes.full)):
        if found.before != found.after:
            summary.append(f"  {name} $/h {found.before} -> {found.after}")
    for title, differing in (("money", changes.pools), ("quota", changes.quota), ("policy", changes.policy)):
        summary += [f"  {title} {each.name}: {each.before or 'none'} -> {each.after or 'none'}" for each in differing]
    summary += [f"  access {short_tokens(line)}" for line in changes.access]
    resources = [f"  + {_short_urn(urn)}" for urn in changes.created] + [f"  - {_short_urn(urn)}" for urn in changes.deleted]
    resources += [f"  ~ {short_tokens(each.type)} {each.name}: {', '.join(each.inputs)}" for each in changes.changed]
    return summary, resources


def _short_urn(urn: str) -> str:
    parts = urn.split("::")
    return short_tokens(f"{parts[2].rpartition('$')[2]} {parts[-1]}")


def _tree(plan: Plan) -> list[str]:
    rows = [[f"  {short_tokens(branch.kind)} {branch.name}".rstrip(), branch.what, str(branch.resources)] for branch in plan.tree]
    return columns(rows, wrap=1, right=1)


def _money(money: Money) -> list[str]:
    if not money.lines:
        return [] if money.not_priced else ["money  none: no resource here costs money"]
    rows = [["money", _dated(money), "idle $/h", "full $/h", "month if full 24x7"]]
    for line in money.lines:
        rows.append([f"  {line.name}", line.what, *_figures(line)])
        rows += [["", line.note, "", "", ""]] if line.note else []
    rows.append(["  total", "", rate(money.idle), rate(money.full), whole(money.month)])
    return columns(rows, wrap=1, right=3)


def _dated(money: Money) -> str:
    return f"list prices since {money.prices_of}" if money.prices_of else "USD"


def _figures(line: Line) -> list[str]:
    return [rate(line.idle), rate(line.full), whole(line.month)]


def _sections(plan: Plan) -> Iterator[_Section]:
    """Yield the sections below the money table."""
    if plan.money.not_priced:
        yield _Section(f"not priced  {', '.join(plan.money.not_priced)}")
    if plan.money.lines:
        yield _budget(plan.money)
    yield from _quota([need for need in plan.quota if need.granted is None])
    granted = [[f"{need.name}: {need.granted}"] for need in plan.quota if need.granted]
    if granted:
        yield _Section("quota already granted", granted)
    if plan.fabric:
        yield _Section("fabric", [[fabric.pool, _fabric(fabric)] for fabric in plan.fabric], wrap=1)
    yield _policy(plan)
    unknown = _unknown(plan)
    if unknown:
        yield _Section("unknown until `pulumi up`", unknown)


def _quota(needs: Sequence[Need]) -> Iterator[_Section]:
    """Yield the quotas to request. With several regions, each row ends with its region."""
    regions = {need.region or "the region (not known)" for need in needs if not need.all_regions}
    rows = [[f"{need.amount} {need.unit}", need.name, need.code or "(code not known)"] for need in needs]
    if len(regions) > 1:
        rows = [[*row, "" if need.all_regions else need.region or "region not known"] for row, need in zip(rows, needs, strict=True)]
    if rows:
        where = "" if len(regions) > 1 else f" in {', '.join(regions)}"
        yield _Section(f"quota to request{where}", rows, wrap=1)


def _budget(money: Money) -> _Section:
    if money.budget is None:
        return _Section("budget  none")
    share = f" ({money.idle_month.low / money.budget:.0%})" if money.idle_month.low == money.idle_month.high else ""
    parts = [f"{money.budget:,.0f} $/month", f"idle takes {whole(money.idle_month)}{share}"]
    alarm = ""
    if money.month.high is not None and money.month.high <= money.budget:
        parts.append("a full month fits")
    else:
        parts += [f"the rest pays {hours(money.hours)} with every node on"] if money.hours else []
        alarm = "WARN full month may exceed it" if money.month.low <= money.budget else "WARN full month exceeds it"
    if money.idle_month.low > money.budget:
        alarm = "VIOLATED idle alone exceeds it"
    return _Section(f"budget  {', '.join(parts)}", [[alarm]] if alarm else [])


def _fabric(fabric: Fabric) -> str:
    cards = f"{fabric.nics} x {fabric.card}" if fabric.nics else f"no {fabric.card}"
    gbps = f"{fabric.gbps:,g} Gb/s per node" if fabric.gbps is not None else "line rate not known"
    floor = f"floor {fabric.floor:g}" if fabric.floor else "floor unknown, a slow network is only reported"
    return f"{cards}, {gbps}, {floor}"


def _policy(plan: Plan) -> _Section:
    rows = []
    for verdict in plan.policy:
        label = {"violated": "VIOLATED", "warning": "warning"}.get(verdict.outcome, "")
        rows += [[f"{label} {verdict.rule}: {finding}"] for finding in verdict.findings]
        rows += [[f"waived {verdict.rule} until {each.until}: {each.finding} (reason: {each.reason})"] for each in verdict.waived]
    rows += [[f"REFUSED {short_tokens(problem)}"] for problem in plan.problems]
    rows += [[f"the program warns: {warning}"] for warning in plan.warnings]
    return _Section(f"policy  {policy_summary(plan)}", rows)


def policy_summary(plan: Plan) -> str:
    """Return how many rules passed, were violated and gave a warning, and how many findings are waived."""
    outcomes = [verdict.outcome for verdict in plan.policy]
    waived = sum(len(verdict.waived) for verdict in plan.policy)
    counts = f"{outcomes.count('passed')} passed, {outcomes.count('violated')} violated, {counted(outcomes.count('warning'), 'warning')}"
    return f"{counts}, {waived} waived" if waived else counts


def _unknown(plan: Plan) -> list[list[str]]:
    found = plan.unknown
    kinds = {
        "provider functions": found.lookups,
        "other stacks": found.references,
        "existing resources": found.reads,
        "encrypted config": found.encrypted,
        "ESC environments": found.environments,
    }
    return [[f"{kind}: {', '.join(map(short_tokens, names))}"] for kind, names in kinds.items() if names]


def markdown(plan: Plan) -> str:
    """Return the plan as GitHub-flavoured Markdown: the changes, the money as a table, the rest as a list, the yard
    as a Mermaid diagram, and the resource tree folded.
    """
    verdict = ("refused" if plan.refused else "ok") + (f", nonce {plan.nonce}" if plan.nonce else "")
    lines = [f"### gpuyard plan: {_cell(plan.stack)}, {counted(len(plan.resources), 'resource')}, {verdict}", ""]
    if plan.changes is not None:
        (heading, *summary), resources = change_rows(plan.changes)
        lines += [f"**{_cell(heading)}**", "", *(f"- {_cell(row.strip())}" for row in summary), ""]
        lines += _folded("resources that change", [row.strip() for row in resources])
    lines += [*_money_table(plan.money), ""] if plan.money.lines else []
    for section in _sections(plan):
        lines.append(f"- {_cell(section.heading)}")
        lines += [f"  - {_cell('  '.join(row))}" for row in section.rows]
    drawn = diagram(plan)
    lines += ["", "```mermaid", *drawn, "```"] if drawn else []
    return "\n".join([*lines, "", *_folded("tree", _tree(plan))])


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    """Return lines as folded preformatted text."""
    fence = "`" * max([3, *(len(run) + 1 for line in lines for run in re.findall("`+", line))])
    shown = [" ".join(line.splitlines()) for line in lines]
    return [f"<details><summary>{title}</summary>", "", fence, *shown, fence, "", "</details>", ""]


def _money_table(money: Money) -> list[str]:
    rows = [[line.name, f"{line.what}{f' ({line.note})' if line.note else ''}", *_figures(line)] for line in money.lines]
    total = ["", rate(money.idle), rate(money.full), whole(money.month)]
    head = [f"| money ({_dated(money)}) | | idle $/h | full $/h | month if full 24x7 |", "|---|---|--:|--:|--:|"]
    cells = [*([_cell(value) for value in row] for row in rows), ["**total**", *map(_cell, total)]]
    return head + [f"| {' | '.join(row)} |" for row in cells]


def _cell(value: str) -> str:
    """Escape text that GitHub's Markdown would interpret: markup, HTML, mentions of people and numbers of issues."""
    line = " ".join(value.splitlines()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?<!\w)[@#](?=\w)", r"\g<0><!-- -->", re.sub(r"[\\`*_\[\]|~$]", r"\\\g<0>", line))
