"""The difference between two plans of a stack, and how a plan shows it."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pulumi_aws as aws

from gpuyard.components.planning import render
from gpuyard.components.planning.changes import changes
from gpuyard.components.planning.document import Plan
from gpuyard.components.planning.plan import make_plan

from .conftest import L4, MakeYard, make_pool

NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)


def before() -> None:
    make_pool("l4", L4)
    aws.ebs.Volume("scratch", availability_zone="us-east-1a", size=1, encrypted=True)
    aws.ec2.InternetGateway("door")


def after() -> None:
    make_pool("l4", {**L4, "max_nodes": 4, "min_nodes": 1})
    aws.ebs.Volume("scratch", availability_zone="us-east-1a", size=2)
    aws.iam.Role("reader", assume_role_policy="{}")


def planned(yard: MakeYard, program: Callable[[], None]) -> Plan:
    return make_plan(yard(program), NOW)


def test_money_quota_access_policy_and_resources_are_compared(yard: MakeYard) -> None:
    old, new = planned(yard, before), planned(yard, after)
    found = changes(old, new, "main")
    assert [urn.rpartition("::")[2] for urn in found.created if "Role::reader" in urn] == ["reader"]
    assert [urn.rpartition("::")[2] for urn in found.deleted] == ["door"]
    volume = next(each for each in found.changed if each.name == "scratch")
    assert volume.inputs == ["encrypted", "size"]
    assert "+ reader (aws:iam/role:Role)" in found.access
    assert [(each.name, each.before, each.after) for each in found.policy if each.name == "encryption"] == [
        ("encryption", "passed", "violated")
    ]
    assert float(str(found.idle.after)) > float(str(found.idle.before)) == old.money.idle.low
    assert any("vCPU" in str(each.after) for each in found.quota)
    assert any(each.name == "l4" for each in found.pools)


def test_the_same_program_has_no_changes(yard: MakeYard) -> None:
    found = changes(planned(yard, before), planned(yard, before), "main")
    assert (found.created, found.deleted, found.changed, found.pools, found.quota, found.access, found.policy) == (
        [],
        [],
        [],
        [],
        [],
        [],
        [],
    )
    assert found.idle.before == found.idle.after
    assert render.change_rows(found) == (["changes against main: 0 created, 0 changed, 0 deleted"], [])


def test_the_changes_lead_the_plan(yard: MakeYard) -> None:
    new = planned(yard, after)
    plan = new.model_copy(update={"changes": changes(planned(yard, before), new, "main")})
    lines = render.text(plan).splitlines()
    assert lines[1].startswith("changes against main: ")
    assert "  - aws.ec2.InternetGateway door" in lines
    assert "  policy encryption: passed -> violated" in lines
    shown = render.markdown(plan).splitlines()
    assert shown[2].startswith("**changes against main: ")
    assert shown.index("- policy encryption: passed -&gt; violated") < shown.index("<details><summary>resources that change</summary>")
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan
