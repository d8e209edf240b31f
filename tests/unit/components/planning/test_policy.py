"""Each policy rule: a yard that passes it, yards that break it, and the messages."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from gpuyard.components.planning.policy import RULES, verdicts

from .conftest import L4, TAGS, MakeYard, dev, make_bucket, make_budget, make_jobs, make_pool, make_template

NOW = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
BLOCK = {"mode": "capacity_block", "reservation": "cr-1", "ends": "2026-12-19T11:30:00Z"}


def verdict(yard: MakeYard, rule: str, program: Callable[[], Any], now: datetime.datetime = NOW) -> tuple[str, list[str]]:
    (found,) = [verdict for verdict in verdicts(yard(program), now) if verdict.rule == rule]
    return found.outcome, found.findings


def test_the_verdicts_name_every_rule(yard: MakeYard) -> None:
    assert [verdict.rule for verdict in verdicts(yard(lambda: None), NOW)] == list(RULES)
    assert all(verdict.outcome == "passed" for verdict in verdicts(yard(lambda: None), NOW))


def test_a_hardened_template_passes(yard: MakeYard) -> None:
    assert {verdict.outcome for verdict in verdicts(yard(make_template), NOW)} == {"passed"}


CARD = {"device_index": 0, "associate_public_ip_address": "false"}
BROKEN: list[tuple[str, Callable[[], Any], str]] = [
    ("no-public-address", lambda: aws.ec2.Subnet("s", vpc_id="v", map_public_ip_on_launch=True), "subnet s gives machines"),
    (
        "no-public-address",
        lambda: make_template(network_interfaces=[{"device_index": 0}]),
        "card 0 may get a public address; set",
    ),
    (
        "no-public-address",
        lambda: make_template(network_interfaces=[CARD, {"network_card_index": 1, "associate_public_ip_address": "true"}]),
        "card 1",
    ),
    ("no-public-address", lambda: aws.ec2.Instance("i", ami="a", associate_public_ip_address=True), "instance i has a public address"),
    ("no-public-address", lambda: aws.ec2.Eip("e", instance="i-1"), "public address e belongs to an instance"),
    (
        "no-inbound",
        lambda: aws.vpc.SecurityGroupIngressRule("r", security_group_id="g", ip_protocol="-1", cidr_ipv4="0.0.0.0/0"),
        "rule r allows ingress from 0.0.0.0/0",
    ),
    (
        "no-inbound",
        lambda: aws.vpc.SecurityGroupIngressRule("r", security_group_id="g", ip_protocol="tcp", cidr_ipv6="::/0"),
        "rule r allows ingress from ::/0",
    ),
    (
        "no-inbound",
        lambda: aws.ec2.SecurityGroup("g", ingress=[{"protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.0.0.0/8"]}]),
        "security group g allows ingress from 10.0.0.0/8",
    ),
    (
        "no-inbound",
        lambda: aws.ec2.SecurityGroupRule(
            "o", type="ingress", protocol="tcp", from_port=22, to_port=22, security_group_id="g", cidr_blocks=["0.0.0.0/0"]
        ),
        "rule o allows ingress from 0.0.0.0/0",
    ),
    (
        "encryption",
        lambda: make_template(block_device_mappings=[{"device_name": "/dev/xvda", "ebs": {"volume_size": 200}}]),
        'set encrypted="true"',
    ),
    ("encryption", lambda: make_template(block_device_mappings=[]), 'launch template lt: disks are not encrypted; set encrypted="true"'),
    ("encryption", lambda: aws.ebs.Volume("v", availability_zone="us-east-1a", size=1), "volume v is not encrypted; set encrypted=True"),
    (
        "metadata-tokens",
        lambda: make_template(metadata_options={"http_tokens": "optional"}),
        'set http_tokens="required" in metadata_options',
    ),
    ("metadata-tokens", lambda: aws.ec2.Instance("i", ami="a", instance_type="t"), "Instance i: the metadata service requires no token"),
    ("spot-checkpoints", lambda: make_pool("p", {**L4, "max_nodes": 1, "capacity": "spot"}), "p: spot machines can be preempted"),
    ("owner-and-expires", lambda: make_pool("p", L4, {"team": "a"}), "p: no owner and no expires"),
    ("owner-and-expires", lambda: make_pool("p", L4, {"owner": "a"}), "p: no expires"),
]


@pytest.mark.parametrize(("rule", "program", "text"), BROKEN)
def test_a_broken_rule_is_a_violation_that_names_the_resource(yard: MakeYard, rule: str, program: Callable[[], Any], text: str) -> None:
    outcome, findings = verdict(yard, rule, program)
    assert outcome == "violated"
    assert any(text in finding for finding in findings), findings


def test_what_aws_encrypts_by_itself_passes(yard: MakeYard) -> None:
    def program() -> None:
        make_bucket(encrypted=False)
        aws.cloudwatch.LogGroup("logs")

    assert verdict(yard, "encryption", program) == ("passed", [])


def test_ingress_from_a_security_group_passes(yard: MakeYard) -> None:
    def program() -> None:
        group = aws.ec2.SecurityGroup("g", description="nodes")
        aws.vpc.SecurityGroupIngressRule("in", security_group_id=group.id, referenced_security_group_id=group.id, ip_protocol="-1")
        aws.vpc.SecurityGroupEgressRule(
            "out", security_group_id=group.id, cidr_ipv4="0.0.0.0/0", ip_protocol="tcp", from_port=443, to_port=443
        )
        aws.ec2.DefaultSecurityGroup("default", vpc_id="v", ingress=[], egress=[])

    assert verdict(yard, "no-inbound", program) == ("passed", [])


def test_spot_with_a_bucket_passes(yard: MakeYard) -> None:
    def program() -> None:
        make_bucket()
        make_pool("p", {**L4, "max_nodes": 1, "capacity": "spot"})

    assert verdict(yard, "spot-checkpoints", program) == ("passed", [])


def test_a_single_node_pool_names_services_with_several_nodes(yard: MakeYard) -> None:
    outcome, (finding,) = verdict(yard, "nodes-together", dev)
    assert outcome == "warning"
    assert finding == "l4-spot takes single-node jobs only: batch has no multi-node spot; services that have it: sagemaker, vms"


def test_a_gpu_limit_below_a_node_is_refused(yard: MakeYard) -> None:
    def program(gpus: int) -> None:
        make_pool("p", L4)
        make_jobs(limits={"gpus": gpus})

    assert verdict(yard, "gpu-limit", lambda: program(4)) == ("passed", [])
    outcome, findings = verdict(yard, "gpu-limit", lambda: program(2))
    assert outcome == "violated"
    assert findings == ["p: limits.gpus is 2, but a node has 4 GPUs, so no job can run; raise limits.gpus"]


def test_a_job_limit_above_the_monthly_budget_is_a_warning(yard: MakeYard) -> None:
    def program(usd: float) -> None:
        make_jobs(limits={"usd_per_job": usd})
        make_budget(1500)

    assert verdict(yard, "money-limit", lambda: program(1000))[0] == "passed"
    assert verdict(yard, "money-limit", lambda: program(2000))[0] == "warning"


@pytest.mark.parametrize(
    ("usd", "spec", "outcome", "text"),
    [
        (20000, L4, "passed", ""),
        (1500, L4, "warning", "a full month costs more than the budget of 1,500 USD; the budget pays 161 h of it"),
        (1500, {**L4, "min_nodes": 1}, "violated", "a month in which no job runs costs 3,390 USD, the budget is 1,500"),
        (1500, {**L4, "max_nodes": 1, "capacity": "spot"}, "warning", "a full month may cost more than the budget"),
        (1500, {**L4, "machine": "p5e.48xlarge"}, "warning", "a full month may cost more than the budget"),
        (1500, {**L4, "machine": "p5e.48xlarge", "min_nodes": 1}, "warning", "some prices are unknown"),
        (None, L4, "warning", "no budget"),
    ],
)
def test_the_budget(yard: MakeYard, usd: float | None, spec: dict[str, Any], outcome: str, text: str) -> None:
    def program() -> None:
        make_pool("p", spec)
        if usd is not None:
            make_budget(usd)

    found, findings = verdict(yard, "budget", program)
    assert found == outcome
    assert [text in finding for finding in findings] == [True] * bool(text)


def test_an_expired_yard_is_a_warning(yard: MakeYard) -> None:
    late = datetime.datetime(2027, 3, 31, tzinfo=datetime.UTC)
    assert verdict(yard, "owner-and-expires", lambda: make_pool("p", L4)) == ("passed", [])
    assert verdict(yard, "owner-and-expires", lambda: make_pool("p", L4), late)[0] == "warning"
    assert verdict(yard, "owner-and-expires", lambda: make_pool("p", L4, {**TAGS, "expires": "never"}), late) == ("passed", [])


@pytest.mark.parametrize(
    ("now", "findings"),
    [
        ("2026-12-01T00:00:00Z", []),
        ("2026-12-18T11:30:00Z", ["p: its capacity block ends at 2026-12-19T11:30:00Z, in 24 h"]),
        ("2026-12-19T11:30:00Z", ["p: its capacity block ended at 2026-12-19T11:30:00Z; set reservation and ends of the next block"]),
    ],
)
def test_a_capacity_block_that_ends_soon_is_a_warning(yard: MakeYard, now: str, findings: list[str]) -> None:
    moment = datetime.datetime.fromisoformat(now)
    assert (
        verdict(yard, "capacity-block", lambda: make_pool("p", {**L4, "machine": "p5.48xlarge", "capacity": BLOCK}), moment)[1] == findings
    )


def test_an_image_that_is_not_pinned_is_a_warning(yard: MakeYard) -> None:
    assert verdict(yard, "pinned-image", lambda: make_pool("p", L4))[0] == "warning"
    assert verdict(yard, "pinned-image", lambda: make_pool("p", {**L4, "image": "ami-1"})) == ("passed", [])
    held = {"machine": "p5.48xlarge", "max_nodes": 1, "service": "sagemaker"}
    assert verdict(yard, "pinned-image", lambda: make_pool("p", held)) == ("passed", [])  # the service chooses the image itself


def test_rules_read_the_values_of_secrets(yard: MakeYard) -> None:
    def program() -> None:
        make_template(metadata_options=pulumi.Output.secret({"http_tokens": "required"}))

    assert verdict(yard, "metadata-tokens", program) == ("passed", [])
