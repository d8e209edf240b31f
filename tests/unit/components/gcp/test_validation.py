"""The rules of Google Cloud for a whole yard: every problem is reported, and its key begins with the part of the yard."""

from __future__ import annotations

from typing import Any

import pytest

from gpuyard.components.gcp.validation import yard_problems
from gpuyard.components.spec import BudgetSpec, NetworkSpec
from gpuyard.components.validation.buckets import ExistingBucket
from tests.helpers.gcp_sample_pools import CAPACITIES, VERTEX, VMS, spec_of

FINE: dict[str, Any] = {
    "region": "us-central1",
    "network": NetworkSpec(zones=["us-central1-a"], cidr="10.40.0.0/16"),
    "existing_network": None,
    "existing_buckets": {"data": ExistingBucket("acme-datasets")},
    "pools": {"lab": spec_of(VMS), "h200": spec_of({**VERTEX, "capacity": CAPACITIES["reservation"]})},
    "submitters": ["repo:acme/nlp-train:ref:refs/heads/main"],
    "budget": BudgetSpec(usd_per_month=1500),
    "owner": "ml@acme.io",
    "tags": {"team": "nlp", "expires": "2027-03-31"},
}
VPC, SUBNETS = "projects/acme/global/networks/shared", {"us-central1-a": "projects/acme/regions/us-central1/subnetworks/gpu"}


@pytest.mark.parametrize("change", [{}, {"region": None}, {"budget": None, "owner": None}, {"existing_network": (VPC, SUBNETS)}])
def test_a_legal_yard_has_no_problems(change: dict[str, Any]) -> None:
    assert yard_problems(**{**FINE, **change}) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"region": "us-east4"}, ["network.zones: not in the stack's region, got 'us-central1-a', allowed: zones of us-east4"]),
        ({"network": NetworkSpec(zones=["us-central1-a"], cidr="10.0.0.0/8")}, ["network.cidr: wrong network size, got '10.0.0.0/8'"]),
        ({"existing_network": ("shared", SUBNETS)}, ["network.existing.vpc_id: not a resource id, got 'shared'"]),
        (
            {"existing_network": (VPC, {"us-central1-a": "gpu"})},
            ["network.existing.subnet_ids.us-central1-a: not a resource id, got 'gpu'"],
        ),
        (
            {"existing_network": (VPC, {"us-central1-b": SUBNETS["us-central1-a"]})},
            ["pools.lab.zone: network net has no subnet", "pools.h200.zone: network net has no subnet"],
        ),
        ({"existing_buckets": {"data": ExistingBucket("gs://acme")}}, ["buckets.data.existing: not the name of a bucket, got 'gs://acme'"]),
        ({"pools": {"Lab": spec_of(VMS)}, "submitters": []}, ["pools.Lab.name: not a valid name, got 'Lab'"]),
        (
            {"pools": {"lab": spec_of(VMS)}},
            ["submitters: no pool takes jobs, got repo:acme/nlp-train:ref:refs/heads/main, allowed: no submitters"],
        ),
        ({"submitters": ["repo:acme/*"]}, ["submitters.0: not a GitHub token subject, got 'repo:acme/*'"]),
        (
            {"submitters": [f"repo:acme/nlp-{number}:ref:refs/heads/main" for number in range(200)]},
            ["submitters: together they make a token condition of"],
        ),
        (
            {"budget": BudgetSpec(usd_per_month=9.5), "owner": "us"},
            ["owner: not a mail address, got 'us'", "budget.usd_per_month: wrong amount, got 9.5"],
        ),
        ({"tags": {"Team": "nlp"}}, ["tags: not a valid label key, got 'Team'"]),
        (
            {"tags": {"expires": "soon"}},
            ["pools.lab.tags.expires: not a date, got 'soon'", "pools.h200.tags.expires: not a date, got 'soon'"],
        ),
    ],
)
def test_each_problem_is_reported(change: dict[str, Any], expected: list[str]) -> None:
    found = yard_problems(**{**FINE, **change})
    assert len(found) == len(expected), found
    assert all(str(line).startswith(text) for line, text in zip(found, expected, strict=True)), found


def test_all_problems_are_reported_together() -> None:
    pools = {"lab": spec_of({**VMS, "image": "x"}), "l4": spec_of({**VERTEX, "disk_gib": 60, "zone": "us-east4-a"})}
    found = yard_problems(
        region="us-central1",
        network=NetworkSpec(zones=["us-east4-a"], cidr="10.0.0.0/24"),
        existing_network=None,
        existing_buckets={"data": ExistingBucket("gs://acme")},
        pools=pools,
        submitters=["*"],
        budget=BudgetSpec(usd_per_month=0.5),
        owner="us",
        tags={"Team": "ml", "expires": "2027-03-31"},
    )
    subjects = [problem.key for problem in found]
    assert subjects == [
        *("network.cidr", "network.zones", "buckets.data.existing", "pools.lab.zone", "pools.lab.image", "pools.l4.disk_gib"),
        *("submitters.0", "tags", "owner", "budget.usd_per_month"),
    ]
