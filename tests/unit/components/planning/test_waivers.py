"""Waivers: which findings they accept, when they expire, and how the plan shows them."""

from __future__ import annotations

import datetime
from typing import get_args

import pulumi_aws as aws
import pytest

from gpuyard.components.planning import render
from gpuyard.components.planning.document import Plan, RuleVerdict
from gpuyard.components.planning.plan import make_plan
from gpuyard.components.planning.policy import RULES
from gpuyard.components.spec.waiver import PolicyRule, WaiverSpec

from .conftest import L4, MakeYard, make_pool

NOW = datetime.datetime(2026, 12, 1, 23, tzinfo=datetime.UTC)
VOLUME = "urn:pulumi:dev::acme::aws:ebs/volume:Volume::scratch"
OTHER = "urn:pulumi:dev::acme::aws:ebs/volume:Volume::other"


def waiver(urn: str = "*:Volume::scratch", rule: PolicyRule = "encryption", until: str = "2026-12-01") -> WaiverSpec:
    return WaiverSpec(rule=rule, urn=urn, reason="only temporary files", until=until)


def program() -> None:
    for name in ("scratch", "other"):
        aws.ebs.Volume(name, availability_zone="us-east-1a", size=1)
    make_pool("l4", L4)


def planned(yard: MakeYard, *waivers: WaiverSpec) -> Plan:
    return make_plan(yard(program), NOW, waivers=waivers)


def verdict(plan: Plan, rule: str) -> RuleVerdict:
    (found,) = [each for each in plan.policy if each.rule == rule]
    return found


def test_every_rule_can_be_waived() -> None:
    assert list(get_args(PolicyRule)) == list(RULES)


@pytest.mark.parametrize("urn", [VOLUME, "*:Volume::scratch", "*volume::SCRATCH", "*Volume::scratc?"])
def test_a_waiver_accepts_the_finding_about_a_matching_resource(yard: MakeYard, urn: str) -> None:
    plan = planned(yard, waiver(urn))
    found = verdict(plan, "encryption")
    assert (found.outcome, found.findings) == ("violated", ["volume other is not encrypted; set encrypted=True"])
    assert [each.model_dump() for each in found.waived] == [
        {"finding": "volume scratch is not encrypted; set encrypted=True", "reason": "only temporary files", "until": "2026-12-01"}
    ]
    assert verdict(plan, "waivers").outcome == "passed"
    assert plan.refused


def test_a_bracket_in_a_pattern_is_a_bracket(yard: MakeYard) -> None:
    def zones() -> None:
        aws.ebs.Volume("data[0]", availability_zone="us-east-1a", size=1)
        aws.ebs.Volume("data0", availability_zone="us-east-1a", size=1)
        make_pool("l4", L4)

    found = verdict(make_plan(yard(zones), NOW, waivers=[waiver("*:Volume::data[0]")]), "encryption")
    assert [each.finding for each in found.waived] == ["volume data[0] is not encrypted; set encrypted=True"]
    assert len(found.findings) == 1


def test_a_rule_whose_findings_are_all_waived_does_not_refuse_the_plan(yard: MakeYard) -> None:
    plan = planned(yard, waiver("*:Volume::*"))
    assert (verdict(plan, "encryption").outcome, plan.refused) == ("waived", False)
    assert "1 warning" not in render.policy_summary(plan)
    assert render.policy_summary(plan).endswith(", 2 waived")
    line = "waived encryption until 2026-12-01: volume scratch is not encrypted; set encrypted=True (reason: only temporary files)"
    assert line in " ".join(render.text(plan).split())
    assert "waived encryption until 2026-12-01" in render.markdown(plan)


def test_a_plan_without_waivers_has_no_rule_about_them(yard: MakeYard) -> None:
    assert [each.rule for each in planned(yard).policy] == list(RULES)


def test_an_expired_waiver_violates_and_accepts_nothing(yard: MakeYard) -> None:
    plan = planned(yard, waiver("*:Volume::*", until="2026-11-30"))
    assert verdict(plan, "encryption").outcome == "violated"
    found = verdict(plan, "waivers")
    assert found.outcome == "violated"
    assert found.findings == [
        "gpuyard:waivers.0.until: expired, got '2026-11-30', allowed: 2026-12-01 or later; fix the finding of encryption and remove the "
        "waiver, or set a later date"
    ]


def test_a_waiver_that_matches_nothing_is_a_warning_that_names_the_resources(yard: MakeYard) -> None:
    found = verdict(planned(yard, waiver("*:Volume::scratsch"), waiver(rule="no-inbound")), "waivers")
    assert found.outcome == "warning"
    assert found.findings == [
        f"gpuyard:waivers.0.urn: no finding of encryption matches, got '*:Volume::scratsch', allowed: {OTHER} or {VOLUME}; correct the "
        "pattern, or remove the waiver",
        "gpuyard:waivers.1.urn: no finding of no-inbound matches, got '*:Volume::scratch'; remove the waiver",
    ]


def test_only_a_star_accepts_a_finding_about_the_whole_stack(yard: MakeYard) -> None:
    assert verdict(planned(yard, waiver("*l4*", "budget")), "budget").outcome == "warning"
    assert verdict(planned(yard, waiver("*", "budget")), "budget").outcome == "waived"
    assert verdict(planned(yard, waiver("*:GpuPool::l4", "pinned-image")), "pinned-image").outcome == "waived"
