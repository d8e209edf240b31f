"""A plan for people: as text for a terminal, as Markdown for a comment on a pull request."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .document import Amount, Fabric, Line, Money, Need, Plan

_RIGHT = 3  # the last columns of the money table are numbers


def text(plan: Plan) -> str:
    """The plan in lines, as `gpuyard plan` prints it."""
    return "\n".join(line.rstrip() for line in (*_head(plan), *_tree(plan), *_money(plan), *_needs(plan), *_policy(plan), *_unknown(plan)))


def style(line: str) -> str:
    """How a terminal shows a line of the text: what stops a pipeline, what is worth a thought, the rest as it is."""
    words = set(line.split())
    return "bold red" if words & {"VIOLATED", "REFUSED"} else "yellow" if words & {"WARN", "warning", "warns:"} else ""


def _head(plan: Plan) -> list[str]:
    where = " ".join([*plan.clouds, plan.region or ""]).strip() or "no cloud"
    facts = [plan.stack, where, f"owner {plan.owner}" if plan.owner else "", f"expires {plan.expires}" if plan.expires else ""]
    return [f"{'  '.join(fact for fact in facts if fact)}   {len(plan.resources)} resources"]


def _tree(plan: Plan) -> list[str]:
    return _aligned([[f"  {branch.kind} {branch.name}".rstrip(), branch.what, str(branch.resources)] for branch in plan.tree], right=1)


def _money(plan: Plan) -> list[str]:
    money = plan.money
    if not money.lines:
        return (
            ["money  none: nothing here costs anything"] if not money.not_priced else [f"money  not priced: {', '.join(money.not_priced)}"]
        )
    dated = f"list prices since {money.prices_of}" if money.prices_of else "USD"
    rows = [[f"money ({dated})", "", "idle $/h", "full $/h", "month if full 24x7", ""]]
    rows += [[f"  {line.name}", line.what, *_figures(line), line.note or ""] for line in money.lines]
    rows.append(["  total", "", rate(money.idle), rate(money.full), whole(money.month), ""])
    lines = _aligned(rows, right=_RIGHT, tail=1)
    lines += [f"  not priced: {', '.join(money.not_priced)}"] if money.not_priced else []
    return [*lines, *_budget(money)]


def _figures(line: Line) -> list[str]:
    return [rate(line.idle), rate(line.full), whole(line.month)]


def _budget(money: Money) -> list[str]:
    if money.budget is None:
        return ["budget none"]
    share = f" ({money.idle_month.low / money.budget:.0%})" if money.idle_month.low == money.idle_month.high else ""
    parts = [f"budget {money.budget:,.0f} $/month", f"idle takes {whole(money.idle_month)}{share}"]
    if money.month.high is not None and money.month.high <= money.budget:
        parts.append("a full month fits")
    else:
        parts += [f"the rest buys {hours(money.hours)} with everything on"] if money.hours else []
        parts.append("WARN full month may exceed it" if money.month.low <= money.budget else "WARN full month exceeds it")
    if money.idle_month.low > money.budget:
        parts[-1] = "VIOLATED idle alone exceeds it"
    return ["   ".join(parts)]


def _needs(plan: Plan) -> list[str]:
    asked = [_need(need) for need in plan.quota if need.granted is None]
    lines = [f"quota to ask for ({plan.region or 'region not stated'})  {'   '.join(asked)}"] if asked else []
    lines += [f"quota granted  {need.name}: {need.granted}" for need in plan.quota if need.granted]
    return lines + [f"fabric  {'   '.join(_fabric(fabric) for fabric in plan.fabric)}"] * bool(plan.fabric)


def _need(need: Need) -> str:
    return f"{need.code or '(code not known)'} {need.name} {need.amount} {need.unit}"


def _fabric(fabric: Fabric) -> str:
    gbps = f"{fabric.gbps:,g} Gb/s per node" if fabric.gbps is not None else "line rate not known"
    return f"{fabric.pool}: {fabric.nics or 'no'} {fabric.card}, {gbps}, floor {fabric.floor:g}"


def _policy(plan: Plan) -> list[str]:
    lines = [f"policy  {policy_summary(plan)}"]
    for verdict in plan.policy:
        word = {"violated": "VIOLATED", "warning": "warning"}.get(verdict.outcome, "")
        lines += [f"  {word} {verdict.rule}: {finding}" for finding in verdict.findings]
    lines += [f"  REFUSED {problem}" for problem in plan.problems]
    return lines + [f"  the program warns: {warning}" for warning in plan.warnings]


def policy_summary(plan: Plan) -> str:
    """How many rules passed, were violated, have a warning."""
    outcomes = [verdict.outcome for verdict in plan.policy]
    warnings = outcomes.count("warning")
    return f"{outcomes.count('passed')} passed, {outcomes.count('violated')} violated, {warnings} warning{'' if warnings == 1 else 's'}"


def _unknown(plan: Plan) -> list[str]:
    found = plan.unknown
    told = {
        "look-ups": found.lookups,
        "other stacks": found.references,
        "existing resources": found.reads,
        "encrypted config": found.encrypted,
    }
    parts = [f"{word}: {', '.join(names)}" for word, names in told.items() if names]
    return [f"unknown until `pulumi up`  {'; '.join(parts)}"] if parts else []


def markdown(plan: Plan) -> str:
    """The plan as GitHub-flavoured Markdown: what a reviewer has to see first, the rest folded."""
    money = plan.money
    verdict = "refused" if plan.refused else "ok"
    lines = [f"### gpuyard plan: {_cell(plan.stack)}, {len(plan.resources)} resources, {verdict}", ""]
    if money.lines:
        dated = f" (list prices since {money.prices_of})" if money.prices_of else ""
        lines += [f"| money{dated} | | idle $/h | full $/h | month if full 24x7 |", "|---|---|--:|--:|--:|"]
        rows = [[line.name, f"{line.what}{f' ({line.note})' if line.note else ''}", *_figures(line)] for line in money.lines]
        rows.append(["**total**", "", rate(money.idle), rate(money.full), whole(money.month)])
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
        lines += ["", *map(_cell, _budget(money)), ""]
    lines += [f"- not priced: {_cell(', '.join(money.not_priced))}"] if money.not_priced else []
    lines += [f"- {_cell(line)}" for line in (*_needs(plan), *_policy(plan)[:1])]
    lines += [f"  - {_cell(line.strip())}" for line in _policy(plan)[1:]]
    lines += [f"- {_cell(line)}" for line in _unknown(plan)]
    tree = [line.rstrip() for line in _tree(plan)]
    return "\n".join([*lines, "", "<details><summary>tree</summary>", "", "```", *tree, "```", "", "</details>", ""])


def rate(amount: Amount) -> str:
    """USD per hour: 9.20, <=4.60 where only a bound is known, unknown."""
    return _shown(amount, ".2f")


def whole(amount: Amount) -> str:
    """USD without cents."""
    return _shown(amount, ",.0f")


def hours(amount: Amount) -> str:
    """Whole hours, never more than the budget pays; at least so many where prices are bounded."""
    least = math.floor(amount.low)
    return f"{least:,} h" if amount.low == amount.high else f">={least:,} h" if least else "unknown hours"


def _shown(amount: Amount, form: str) -> str:
    if amount.high is None:
        return f">={amount.low:{form}}" if amount.low else "unknown"
    return f"{amount.high:{form}}" if amount.low == amount.high else f"<={amount.high:{form}}"


def _cell(value: str) -> str:
    """Text that Markdown leaves as it is."""
    return value.replace("|", "\\|").replace("<", "&lt;")


def _aligned(rows: Sequence[Sequence[str]], right: int, tail: int = 0) -> list[str]:
    """Columns of one width each; `right` of them, before the last `tail`, end at the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    numbers = range(len(widths) - tail - right, len(widths) - tail)
    return ["  ".join(_padded(row, widths, numbers)) for row in rows]


def _padded(row: Sequence[str], widths: Sequence[int], numbers: range) -> Iterable[str]:
    return (
        cell.rjust(width) if column in numbers else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
