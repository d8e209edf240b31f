"""The complete plan as text, as Markdown and as a JSON document, with unknown values and refused programs."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws

from gpuyard.components.planning import render
from gpuyard.components.planning.document import Amount, Plan
from gpuyard.components.planning.layout import columns, hours, rate, short_tokens, whole, wrapped
from gpuyard.components.planning.plan import make_plan
from gpuyard.components.planning.recorder import record
from gpuyard.components.planning.yard import RecordedYard

from .conftest import L4, Fake, MakeYard, dev, make_budget, make_network, make_pool, make_template

NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
DEV = """\
dev  aws us-east-1  owner ml@acme.io  expires 2027-03-31   16 resources
  Network net       10.40.0.0/16, 2 private subnets, egress nat, 1 NAT  7
  Bucket runs       s3, encrypted, versioned, on_destroy delete         4
  GpuPool l4        0..2 g6.12xlarge, us-east-1a, batch, on demand      1
  GpuPool l4-spot   0..1 g6.12xlarge, us-east-1b, batch, spot           1
  JobService train  jobs from people and 0 pipelines                    1
  Budget budget     1,500 USD a month                                   1
  aws.kms.Key                                                           1
money       list prices since 2026-01-31                     idle $/h  full $/h  month if full 24x7
  l4        2 x 4.6016 on demand                                 0.00      9.20               6,718
  l4-spot   1 x spot: price unknown                              0.00    <=4.60             <=3,359
            at most the on-demand price
  disks     3 x root disk of 200 GiB (gp3)                       0.00      0.13                  93
  standing  1 NAT gateway, 1 public IPv4 address, 1 KMS key      0.05      0.05                  37
            traffic, storage and requests not counted
  total                                                          0.05   <=13.98            <=10,208
budget  1,500 $/month, idle takes 37 (2%), the rest pays >=104 h with every node on
  WARN full month exceeds it
quota to request in us-east-1
  96 vCPU  Running On-Demand G and VT instances  L-DB2E81BA
  48 vCPU  All G and VT Spot Instance Requests   L-3819A6DF
fabric
  l4       1 x EFA, 40 Gb/s per node, floor unknown, a slow network is only reported
  l4-spot  1 x EFA, 40 Gb/s per node, floor unknown, a slow network is only reported
policy  10 passed, 0 violated, 3 warnings
  warning nodes-together: l4-spot takes single-node jobs only: batch has no multi-node spot;
      services that have it: sagemaker, vms
  warning budget: a full month costs more than the budget of 1,500 USD; the budget pays at least 104
      h of it
  warning pinned-image: l4, l4-spot: each `up` uses the newest machine image; `gpuyard pin` pins it"""


def planned(yard: RecordedYard) -> Plan:
    return make_plan(yard, NOW)


def test_the_text(yard: MakeYard) -> None:
    plan = planned(yard(dev))
    assert render.text(plan) == DEV
    assert not plan.refused


def test_warnings_are_yellow_and_refusals_red_with_their_continuation_lines() -> None:
    yellow = [line.split()[0] for line, style in render.styled(DEV.splitlines()) if style == "yellow"]
    assert yellow == ["WARN", "warning", "services", "warning", "h", "warning"]
    red = render.styled(["policy", "  VIOLATED budget: idle", "  REFUSED two resources", "      of one name", "unknown"])
    assert [style for _, style in red] == ["", "bold red", "bold red", "bold red", ""]


def test_two_plans_of_one_program_are_equal(yard: MakeYard) -> None:
    assert planned(yard(dev)) == planned(yard(dev))


def test_the_tree_counts_every_resource(yard: MakeYard) -> None:
    plan = planned(yard(dev))
    assert sum(branch.resources for branch in plan.tree) == len(plan.resources)
    assert {resource.urn for resource in plan.resources} == set(yard(dev).recording.resources)


def test_the_markdown_for_a_pull_request(yard: MakeYard) -> None:
    lines = render.markdown(planned(yard(dev))).splitlines()
    assert lines[0] == "### gpuyard plan: dev, 16 resources, ok"
    assert "| l4-spot | 1 x spot: price unknown (at most the on-demand price) | 0.00 | &lt;=4.60 | &lt;=3,359 |" in lines
    assert "| **total** |  | 0.05 | &lt;=13.98 | &lt;=10,208 |" in lines
    assert "| disks | 3 x root disk of 200 GiB (gp3) | 0.00 | 0.13 | 93 |" in lines
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6}  # GitHub renders a table only if every row has the same number of cells
    assert (lines.count("```mermaid"), lines.count("```")) == (1, 3)  # the diagram, and both ends of the tree
    assert "  GpuPool l4        0..2 g6.12xlarge, us-east-1a, batch, on demand      1" in lines


def test_the_document_survives_json(yard: MakeYard) -> None:
    plan = planned(yard(dev))
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan


def test_the_document_marks_unknown_values_and_hides_secrets(yard: MakeYard) -> None:
    def program() -> None:
        key = aws.kms.Key("key", description=pulumi.Output.secret("hunter2"), deletion_window_in_days=7)
        aws.kms.Alias("alias", target_key_id=key.id, name=pulumi.Output.concat("alias/", key.key_id))
        aws.ec2.LaunchTemplate("lt", tags={"plain": "a", "password": pulumi.Output.secret("hunter2")})
        aws.s3.BucketObject("file", bucket="b", source=pulumi.StringAsset("hello"))

    plan = planned(yard(program))
    inputs = {resource.name: resource.inputs for resource in plan.resources}
    assert inputs == {
        "alias": {"name": {"$unknown": True}, "targetKeyId": {"$unknown": True}},
        "file": {"bucket": "b", "source": {"$asset": {"text": "hello"}}},
        "key": {"deletionWindowInDays": 7, "description": {"$secret": True}},
        "lt": {"tags": {"password": {"$secret": True}, "plain": "a"}},
    }
    assert "hunter2" not in plan.model_dump_json()


def test_a_long_row_continues_below_its_own_column() -> None:
    words = " ".join(["word"] * 30)
    lines = columns([["  name", words, "1"], ["  other", "short", "22"]], wrap=1, right=1)
    assert max(map(len, lines)) == 100
    assert [line.split()[0] for line in lines] == ["name", "word", "other"]
    assert lines[1].startswith(" " * 9 + "word")
    assert wrapped("  " + words, hanging=4)[1].startswith("      word")


def test_type_tokens_are_shortened_as_python_writes_them() -> None:
    assert short_tokens("aws:ec2/subnet:Subnet a, aws:index/getRegion:getRegion") == "aws.ec2.Subnet a, aws.getRegion"
    assert short_tokens("azure-native:network:Subnet") == "azure-native.network.Subnet"
    assert short_tokens("config acme:token, urn 12:30") == "config acme:token, urn 12:30"


def test_a_violation_refuses_the_plan(yard: MakeYard) -> None:
    def program() -> None:
        make_pool("l4", {**L4, "min_nodes": 2})
        make_budget(100)

    plan = planned(yard(program))
    assert plan.refused
    assert "VIOLATED idle alone exceeds it" in render.text(plan)
    assert "  VIOLATED budget: a month in which no job runs costs 6,780 USD" in render.text(plan)
    assert render.markdown(plan).startswith("### gpuyard plan: dev, 2 resources, refused")


def test_the_text_lists_unknown_values(tmp_path: Path) -> None:
    def program() -> None:
        company = pulumi.StackReference("acme/network/prod")
        group = aws.ec2.SecurityGroup("nodes", vpc_id=company.get_output("vpc_id"), description="nodes")
        aws.ec2.Subnet.get("given", "subnet-1")
        pulumi.export("ami", aws.ssm.get_parameter_output(name="/ami").value)
        pulumi.export("token", pulumi.Config("acme").require_secret("token"))
        pulumi.export("group", group.id)
        pulumi.log.warn("mind the gap")

    recording = record(program, project="acme", stack="dev", encrypted=["acme:token"], root=tmp_path)
    plan = make_plan(RecordedYard("acme", "dev", {}, recording), NOW, ["acme:token"])
    assert not plan.refused
    assert render.text(plan).splitlines()[-6:] == [
        "  the program warns: mind the gap",
        "unknown until `pulumi up`",
        "  provider functions: aws.ssm.getParameter",
        "  other stacks: acme/network/prod",
        "  existing resources: aws.ec2.Subnet given",
        "  encrypted config: acme:token",
    ]


def test_a_problem_refuses_the_plan(tmp_path: Path) -> None:
    def program() -> None:
        aws.kms.Key("key")
        aws.kms.Key("key")

    plan = make_plan(RecordedYard("acme", "dev", {}, record(program, project="acme", stack="dev", root=tmp_path)), NOW)
    assert plan.refused
    assert "  REFUSED aws.kms.Key key: two resources have this URN; rename one" in render.text(plan)


def line_of(plan: Plan, start: str) -> str:
    return next(line for line in render.text(plan).splitlines() if line.startswith(start))


def lines_below(plan: Plan, heading: str) -> list[str]:
    """Return the indented lines below a heading."""
    lines = render.text(plan).splitlines()
    start = lines.index(heading) + 1
    return [line.strip() for line in takewhile(lambda line: line.startswith(" "), lines[start:])]


def test_the_quotas_of_several_pools(yard: MakeYard) -> None:
    def program() -> None:
        block = {"mode": "capacity_block", "reservation": "cr-1", "ends": "2027-01-01T00:00:00Z"}
        p5 = {"machine": "p5.48xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}
        make_pool("a", p5)
        make_pool("b", {**p5, "max_nodes": 1, "capacity": {"mode": "reservation", "reservation": "cr-2"}})
        make_pool("c", {**p5, "machine": "p6-b200.48xlarge", "max_nodes": 1, "capacity": "spot"})
        make_pool("d", {**p5, "capacity": block})
        make_pool("e", {"machine": "p5.48xlarge", "max_nodes": 3, "service": "sagemaker", "capacity": "spot"})

    plan = planned(yard(program))
    assert lines_below(plan, "quota to request in us-east-1") == [
        "576 vCPU  Running On-Demand P instances                          L-417A185B",
        "192 vCPU  All P6 Spot Instance Requests                          (code not known)",
        "3 nodes   sagemaker: ml.p5.48xlarge for spot training job usage  (code not known)",
    ]
    assert lines_below(plan, "quota already granted") == ["capacity block of p5.48xlarge: granted with the block"]
    assert [need.pools for need in plan.quota] == [["a", "b"], ["c"], ["d"], ["e"]]


def test_plain_pulumi_programs_have_a_plan_too(yard: MakeYard) -> None:
    def program() -> None:
        aws.ec2.Vpc("v", cidr_block="10.0.0.0/16")
        make_template()
        aws.kms.Key("k")

    plan = planned(yard(program))
    assert [(branch.kind, branch.resources) for branch in plan.tree] == [
        ("aws:ec2/launchTemplate:LaunchTemplate", 1),
        ("aws:ec2/vpc:Vpc", 1),
        ("aws:kms/key:Key", 1),
    ]
    assert "1 KMS key" in render.text(plan)
    assert line_of(plan, "budget") == "budget  none"


def test_adopted_resources_are_named(yard: MakeYard) -> None:
    assert line_of(planned(yard(lambda: make_network(nats=0))), "  Network net").split("  ")[2].startswith("10.40.0.0/16, 2 private")
    assert line_of(planned(yard(lambda: Fake("Network", "net", {}))), "  Network net").split("  ")[2] == "adopted"
    assert line_of(planned(yard(lambda: Fake("Bucket", "data", {}))), "  Bucket data").split("  ")[2] == "adopted"


def shown(format_: Callable[[Any], str], low: float, high: float | None) -> str:
    return format_(Amount(low=low, high=high))


def test_amounts_as_text() -> None:
    assert [shown(rate, 9.2, 9.2), shown(rate, 0, 4.6), shown(rate, 2, None), shown(rate, 0, None)] == [
        "9.20",
        "<=4.60",
        ">=2.00",
        "unknown",
    ]
    assert [shown(whole, 10111, 10111), shown(hours, 106, 106)] == ["10,111", "106 h"]
    assert [shown(hours, 105.9, None), shown(hours, 0.9, None)] == [">=105 h", "unknown hours"]
