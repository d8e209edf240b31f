"""Waivers of the plan: which findings a stack's `gpuyard:waivers` accept, and which waivers have expired or match nothing."""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Iterator, Mapping, Sequence

from gpuyard.problems import Problem, show

from ..spec.waiver import PolicyRule, WaiverSpec
from .document import Waived
from .finding import Finding

__all__ = ["split", "waiver_findings"]


def split(
    rule: PolicyRule, findings: Sequence[Finding], waivers: Sequence[WaiverSpec], today: datetime.date
) -> tuple[list[Finding], list[Waived]]:
    """Return the findings of a rule that no valid waiver accepts, and the accepted ones with their waivers."""
    valid = [each for each in waivers if each.rule == rule and each.last_day >= today]
    left, accepted = [], []
    for finding in findings:
        waiver = next((each for each in valid if _matches(each, finding)), None)
        if waiver is None:
            left.append(finding)
        else:
            accepted.append(Waived(finding=finding.text, reason=waiver.reason, until=waiver.until))
    return left, accepted


def waiver_findings(
    waivers: Sequence[WaiverSpec], findings: Mapping[PolicyRule, Sequence[Finding]], today: datetime.date
) -> Iterator[Finding]:
    """Yield a violation for each expired waiver, and a warning for each waiver that matches no finding."""
    for number, waiver in enumerate(waivers):
        key = f"gpuyard:waivers.{number}"
        if waiver.last_day < today:
            fix = f"fix the finding of {waiver.rule} and remove the waiver, or set a later date"
            yield Finding("violated", str(Problem(f"{key}.until", "expired", show(waiver.until), f"{today} or later", fix)))
        elif not any(_matches(waiver, finding) for finding in findings[waiver.rule]):
            urns = sorted({urn for finding in findings[waiver.rule] for urn in finding.urns})
            fix = "correct the pattern, or remove the waiver" if urns else "remove the waiver"
            problem = Problem(f"{key}.urn", f"no finding of {waiver.rule} matches", show(waiver.urn), " or ".join(urns) or None, fix)
            yield Finding("warning", str(problem))


def _matches(waiver: WaiverSpec, finding: Finding) -> bool:
    """Return whether the waiver's pattern matches all resources of a finding. Only `*` matches a finding about the whole stack."""
    if not finding.urns:
        return waiver.urn == "*"
    pattern = waiver.urn.lower().replace("[", "[[]")  # only * and ? are special
    return all(fnmatch.fnmatchcase(urn.lower(), pattern) for urn in finding.urns)
