"""Writes docs/aws-errors.md: what a stack file on AWS can have wrong, and the message that each mistake gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from components.aws import yard_problems
from components.spec import NetworkSpec
from stacks.settings import NAMESPACE, load
from training_jobs.errors import UsageError

_HEAD = """# A stack file on AWS: each mistake and its message

Written by `make docs` from the checks themselves; a test holds this page to them. Mistakes of one file are told together, by
`pulumi preview`, `pulumi up` and `gpuyard plan` alike, before the first component: nothing is created. Exit 2. Which machine can be
had how, with the message for each that cannot: [aws-machines.md](aws-machines.md).

| given | message |
|---|---|
"""
_ZONES = ["us-east-1a", "us-east-1b"]
_POOL: dict[str, Any] = {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}
_GOOD: dict[str, Any] = {
    "cloud": "aws",
    "owner": "ml-platform@acme.io",
    "expires": "2027-03-31",
    "network": {"cidr": "10.40.0.0/16", "zones": _ZONES},
    "buckets": {"runs": {"jobs": "write"}},
    "pools": {"l4": _POOL},
}
_SUBNET = {"us-east-1a": "subnet-0a1b2c3d4e5f60718"}
_BLOCK = {"mode": "capacity_block", "reservation": "cr-0123456789abcdef0"}
# One mistake each; a mapping under `pool` is merged into the pool l4.
_MISTAKES: tuple[dict[str, Any], ...] = (
    {"cloud": "amazon"},
    {"owner": None},
    {"expires": None},
    {"expires": "tomorrow"},
    {"budget": {"usd_per_month": 0}},
    {"budget": {"usd_per_month": 100, "alert_at_percent": [50, 50]}},
    {"budget": {"usd_per_month": 100, "alert_at_percent": [2000]}},
    {"budget": {"usd_per_month": 100}, "owner": "the platform team"},
    {"network": {"zones": _ZONES, "cidr": "8.8.0.0/16"}},
    {"network": {"zones": _ZONES, "cidr": "10.0.0.0/24"}},
    {"network": {"zones": _ZONES, "egress": "open"}},
    {"network": {"zones": []}},
    {"network": {"zones": ["us-east-1a", "us-east-1a"]}},
    {"network": {"zones": [*_ZONES, "us-east-1z"]}},
    {"network": {"zones": [*_ZONES, "us-east-1-bos-1a"]}},
    {"network": {"zones": [*_ZONES, "us-west-2a"]}},
    {"network": {"zones": _ZONES, "egress": "none"}},
    {"network": {"existing": {"vpc_id": "my-vpc", "subnet_ids": _SUBNET}}},
    {"network": {"existing": {"vpc_id": "vpc-0a1b2c3d4e5f60718", "subnet_ids": _SUBNET}, "egress": "nat"}},
    {"buckets": {"runs": {"jobs": "read"}}},
    {"buckets": {"runs": {"jobs": "write"}, "more": {"jobs": "write"}}},
    {"buckets": {"Runs": {"jobs": "write"}}},
    {"buckets": {"runs": {"jobs": "write"}, "data": {"existing": "s3://acme-data"}}},
    {"buckets": {"runs": {"jobs": "write"}, "data": {"existing": "acme-data", "on_destroy": "keep"}}},
    {"buckets": {"runs": {"jobs": "write", "existing_key": "arn:aws:kms:us-east-1:111122223333:key/1"}}},
    {"pools": {}},
    {"pools": {"L4 pool": _POOL}},
    {"pool": {"colour": "green"}},
    {"pool": {"machine": "g6.12xlarg"}},
    {"pool": {"machine": None}},
    {"pool": {"accelerator": "L4:4"}},
    {"pool": {"machine": None, "accelerator": "L4:3"}},
    {"pool": {"machine": None, "accelerator": "L40S:4"}},
    {"pool": {"machine": None, "accelerator": "4xL4"}},
    {"pool": {"zone": None}},
    {"pool": {"zone": "us-east-1c"}},
    {"pool": {"service": "local"}},
    {"pool": {"max_nodes": 0}},
    {"pool": {"min_nodes": 3}},
    {"pool": {"service": "sagemaker", "min_nodes": 1}},
    {"pool": {"capacity": "spot"}},
    {"pool": {"capacity": "cheap"}},
    {"pool": {"capacity": {"mode": "flex_start", "max_hours": 24}}},
    {"pool": {"capacity": _BLOCK}},
    {"pool": {"capacity": {**_BLOCK, "ends": "19.12.2026"}}},
    {"pool": {"capacity": {"mode": "reservation", "reservation": "mine"}}},
    {"pool": {"image": "ubuntu"}},
    {"pool": {"service": "sagemaker", "image": "ami-0123456789abcdef0"}},
    {"pool": {"disk_gib": 10}},
    {"pool": {"fabric_floor": 70}},
    {"pool": {"price_usd_per_hour": -1}},
    {"pool": {"keep_alive_minutes": 30}},
    {"pool": {"service": "sagemaker", "capacity": "spot", "keep_alive_minutes": 30}},
    {"pool": {"service": "sagemaker", "keep_alive_minutes": 600}},
    {"pool": {"network_isolation": True}},
    {"submitters": ["*"]},
    {"submitters": ["repo:acme/llm:ref:refs/heads/main"], "pool": {"service": "vms"}},
    {"secrets": {"wandb": "file:/run/wandb"}},
    {"secrets": {"wandb": "hunter2"}},
    {"limits": {"gpus": 0}},
    {"limits": {"usd_per_job": 0}},
    {"pins": {"job_image": "train:latest"}},
    {"tags": {"stack": "mine"}},
    {"tags": {"team": "a;b"}},
    {"tags": {"aws:team": "ml"}},
    {"tags": {"team": "ml", "Team": "ml"}},
    {"bugdet": {"usd_per_month": 100}},
)


def text() -> str:
    """The whole page."""
    return _HEAD + "".join(_rows())


def _rows() -> Iterator[str]:
    for mistake in _MISTAKES:
        told = messages(mistake)
        if not told:
            raise AssertionError(f"nothing is told of {mistake}")
        yield f"| `{json.dumps(mistake)}` | {'<br>'.join(line.replace('|', chr(92) + '|') for line in told)} |\n"


def messages(mistake: Mapping[str, Any]) -> list[str]:
    """What is told of a good stack file with one mistake in it."""
    pool = {key: value for key, value in {**_POOL, **mistake.get("pool", {})}.items() if value is not None}
    changed = {**_GOOD, "pools": {"l4": pool}, **{key: value for key, value in mistake.items() if key != "pool"}}
    config = {
        f"{NAMESPACE}{key}": value if isinstance(value, str) else json.dumps(value) for key, value in changed.items() if value is not None
    }
    try:
        settings = load(config, stack="dev-aws")
    except UsageError as error:
        return [str(problem) for problem in error.problems]
    existing = settings.network.existing
    found = yard_problems(
        region="us-east-1",
        network=NetworkSpec(**settings.network.model_dump(exclude={"existing"}, exclude_unset=True)),
        existing_network=(existing.vpc_id, existing.subnet_ids) if existing else None,
        existing_buckets={name: bucket.existing for name, bucket in settings.buckets.items() if bucket.existing is not None},
        pools=settings.pools,
        submitters=settings.submitters,
        budget=settings.budget,
        owner=settings.owner,
        tags=settings.all_tags,
    )
    return [f"{NAMESPACE}{line}" for line in found]
