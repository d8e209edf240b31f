"""Requests that AWS refuses although botocore's model and the SDK accept them: one row for each rule, with source and date.

A rule reads the inputs of one resource. `find` returns the inputs of another resource by its id, or None if it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Inputs = Mapping[str, Any]
Find = Callable[[str], Inputs | None]
QUEUE, SHARES = "aws:batch/jobQueue:JobQueue", "aws:batch/schedulingPolicy:SchedulingPolicy"
ENVIRONMENT, TEMPLATE = "aws:batch/computeEnvironment:ComputeEnvironment", "aws:ec2/launchTemplate:LaunchTemplate"


class Rule(NamedTuple):
    """One rule of a service."""

    token: str
    """Type token of the resource."""
    refuses: Callable[[Inputs, Find], bool]
    message: str
    """The service's message, or our own text if the service's message is not public."""
    source: str
    date: str
    """Day on which the source was read."""


def _groups_in_both_places(inputs: Inputs, find: Find) -> bool:
    return bool(_resources(inputs).get("securityGroupIds")) and bool(_cards_of_environment(inputs, find))


def _groups_in_no_place(inputs: Inputs, find: Find) -> bool:
    cards = _cards_of_environment(inputs, find)
    return not _resources(inputs).get("securityGroupIds") and not any(card.get("securityGroups") for card in cards)


def _no_slot_for_a_container(inputs: Inputs, find: Find) -> bool:
    """Return whether card 0 has two interfaces. Then its two slots are full, and the container of a multi-node job cannot get one."""
    return len([card for card in _cards_of_environment(inputs, find) if _place(card)[0] == 0]) > 1


def _public_address_without_address(inputs: Inputs, _: Find) -> bool:
    return any(card.get("interfaceType") == "efa-only" and "associatePublicIpAddress" in card for card in _cards(inputs))


def _first_card_without_address(inputs: Inputs, _: Find) -> bool:
    return any(_place(card) == (0, 0) and card.get("interfaceType") == "efa-only" for card in _cards(inputs))


def _place_used_twice(inputs: Inputs, _: Find) -> bool:
    places = [_place(card) for card in _cards(inputs)]
    return len(set(places)) < len(places) or (bool(places) and (0, 0) not in places)


def _groups_beside_cards(inputs: Inputs, _: Find) -> bool:
    return bool(_cards(inputs)) and bool(inputs.get("vpcSecurityGroupIds") or inputs.get("securityGroupNames"))


def _timeout_out_of_range(inputs: Inputs, _: Find) -> bool:
    minutes = (inputs.get("updatePolicy") or {}).get("jobExecutionTimeoutMinutes")
    return minutes is not None and not 1 <= minutes <= 360


def _share_out_of_range(inputs: Inputs, _: Find) -> bool:
    shares = (inputs.get("fairSharePolicy") or {}).get("shareDistributions") or []
    names = [str(share["shareIdentifier"]) for share in shares]
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z0-9]{1,255}\*?", name)]
    factors = [float(share.get("weightFactor", 1)) for share in shares]
    return bool(wrong) or len(names) > 500 or len(set(names)) < len(names) or not all(0.0001 <= factor <= 999.9999 for factor in factors)


_CDK = "github.com/aws/aws-cdk/issues/21577, the service's message in its description; fixed by pull request 21579"
_EFA = "docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html (EFA-only interfaces have no IP address and are never the first)"
RULES = (
    Rule(
        ENVIRONMENT,
        _groups_in_both_places,
        "Either compute environment Security Groups or Network Interfaces in Launch template are exclusively allowed",
        _CDK,
        "2026-12-01",
    ),
    Rule(
        ENVIRONMENT,
        _groups_in_no_place,
        "one or more security groups must be specified, in securityGroupIds or in the launch template",
        "botocore's Batch model, CreateComputeEnvironment, computeResources.securityGroupIds",
        "2026-12-01",
    ),
    Rule(
        ENVIRONMENT,
        _no_slot_for_a_container,
        "card 0 has no slot for the interface of a multi-node job's container (awsvpc)",
        "github.com/aws-samples/awsome-distributed-training, 1.architectures/3.aws-batch: P5 and P6 have one `efa` interface on each card",
        "2026-12-01",
    ),
    Rule(
        TEMPLATE,
        _public_address_without_address,
        "InvalidParameterCombination: associatePublicIpAddress cannot be specified for an EFA-only interface",
        "botocore's EC2 model, LaunchTemplateInstanceNetworkInterfaceSpecificationRequest.InterfaceType: do not assign any IP addresses",
        "2026-12-01",
    ),
    Rule(TEMPLATE, _first_card_without_address, "the first interface must have an IP address", _EFA, "2026-12-01"),
    Rule(
        TEMPLATE,
        _place_used_twice,
        "each interface needs a device index of its own on its card, and one is device 0 of card 0",
        "botocore's EC2 model, the same shape, DeviceIndex and NetworkCardIndex",
        "2026-12-01",
    ),
    Rule(
        TEMPLATE,
        _groups_beside_cards,
        "When a network interface is provided, the security groups must be a part of it",
        "github.com/hashicorp/terraform-provider-aws/issues/4570, the service's message",
        "2026-12-01",
    ),
    Rule(
        ENVIRONMENT,
        _timeout_out_of_range,
        "expected update_policy.job_execution_timeout_minutes to be in the range (1 - 360)",
        "github.com/hashicorp/terraform-provider-aws/issues/48709: the provider refuses what Batch accepts",
        "2026-12-01",
    ),
    Rule(
        SHARES,
        _share_out_of_range,
        "a share identifier has at most 255 letters and digits, is used once, and its weight factor is 0.0001 to 999.9999",
        "botocore's Batch model, ShareAttributes",
        "2026-12-01",
    ),
)
"""The rules that a request of the components meets."""


def change_refusals(token: str, old: Inputs, new: Inputs) -> list[str]:
    """Return the messages with which AWS refuses a change in place.

    botocore's Batch model, CreateJobQueue, schedulingPolicyArn, read on 2026-12-01. The provider sends such a change as an update:
    github.com/hashicorp/terraform-provider-aws, internal/service/batch/job_queue.go.
    """
    if token == QUEUE and bool(old.get("schedulingPolicyArn")) != bool(new.get("schedulingPolicyArn")):
        return ["a fair-share scheduling policy cannot be added to a job queue or removed from it"]
    return []


def refusals(token: str, inputs: Inputs, find: Find) -> list[str]:
    """Return the messages with which AWS refuses a resource."""
    return [rule.message for rule in RULES if rule.token == token and rule.refuses(inputs, find)]


def _resources(inputs: Inputs) -> Inputs:
    return dict(inputs.get("computeResources") or {})


def _cards(inputs: Inputs) -> list[Inputs]:
    return [dict(card) for card in inputs.get("networkInterfaces") or []]


def _cards_of_environment(inputs: Inputs, find: Find) -> list[Inputs]:
    template = find(str(_resources(inputs).get("launchTemplate", {}).get("launchTemplateId")))
    return _cards(template) if template else []


def _place(card: Inputs) -> tuple[int, int]:
    return int(card.get("networkCardIndex", 0)), int(card.get("deviceIndex", 0))
