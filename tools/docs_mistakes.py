"""Mistakes in stack files, one table per cloud, for the pages docs/<cloud>-errors.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["MISTAKES", "Mistakes"]


class Mistakes(NamedTuple):
    """A valid stack file of a cloud, and mistakes in it."""

    region: str
    stack: Mapping[str, Any]
    pool: Mapping[str, Any]
    """The settings of the stack's pool l4."""
    mistakes: tuple[dict[str, Any], ...]
    """One mistake each; a mapping under `pool` is merged into the pool l4."""


_AWS_ZONES = ["us-east-1a", "us-east-1b"]
_AWS_POOL: dict[str, Any] = {"machine": "g6.12xlarge", "zone": "us-east-1a", "max_nodes": 2, "service": "batch"}
_AWS_STACK: dict[str, Any] = {
    "cloud": "aws",
    "owner": "ml-platform@acme.io",
    "expires": "2027-03-31",
    "network": {"cidr": "10.40.0.0/16", "zones": _AWS_ZONES},
    "buckets": {"runs": {"jobs": "write"}},
    "pools": {"l4": _AWS_POOL},
}
_AWS_SUBNET = {"us-east-1a": "subnet-0a1b2c3d4e5f60718"}
_AWS_BLOCK = {"mode": "capacity_block", "reservation": "cr-0123456789abcdef0"}
_AWS_MISTAKES: tuple[dict[str, Any], ...] = (
    {"cloud": "amazon"},
    {"owner": None},
    {"expires": None},
    {"expires": "tomorrow"},
    {"budget": {"usd_per_month": 0}},
    {"budget": {"usd_per_month": 100, "alert_at_percent": [50, 50]}},
    {"budget": {"usd_per_month": 100, "alert_at_percent": [2000]}},
    {"budget": {"usd_per_month": 100}, "owner": "the platform team"},
    {"network": {"zones": _AWS_ZONES, "cidr": "8.8.0.0/16"}},
    {"network": {"zones": _AWS_ZONES, "cidr": "10.0.0.0/24"}},
    {"network": {"zones": _AWS_ZONES, "egress": "open"}},
    {"network": {"zones": []}},
    {"network": {"zones": ["us-east-1a", "us-east-1a"]}},
    {"network": {"zones": [*_AWS_ZONES, "us-east-1z"]}},
    {"network": {"zones": [*_AWS_ZONES, "us-east-1-bos-1a"]}},
    {"network": {"zones": [*_AWS_ZONES, "us-west-2a"]}},
    {"network": {"zones": _AWS_ZONES, "egress": "none"}},
    {"network": {"existing": {"vpc_id": "my-vpc", "subnet_ids": _AWS_SUBNET}}},
    {"network": {"existing": {"vpc_id": "vpc-0a1b2c3d4e5f60718", "subnet_ids": _AWS_SUBNET}, "egress": "nat"}},
    {"buckets": {"runs": {"jobs": "read"}}},
    {"buckets": {"runs": {"jobs": "write"}, "more": {"jobs": "write"}}},
    {"buckets": {"Runs": {"jobs": "write"}}},
    {"buckets": {"runs": {"jobs": "write"}, "data": {"existing": "s3://acme-data"}}},
    {"buckets": {"runs": {"jobs": "write"}, "data": {"existing": "acme-data", "on_destroy": "keep"}}},
    {"buckets": {"runs": {"jobs": "write", "existing_key": "arn:aws:kms:us-east-1:111122223333:key/1"}}},
    {"pools": {}},
    {"pools": {"L4 pool": _AWS_POOL}},
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
    {"pool": {"capacity": _AWS_BLOCK}},
    {"pool": {"capacity": {**_AWS_BLOCK, "ends": "19.12.2026"}}},
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
    {"pool": {"service": "sagemaker", "machine": "p5.48xlarge", "max_replacements_per_hour": 3}},
    {"submitters": ["repo:acme/llm:pull_request"]},
    {"submitters": ["*"]},
    {"submitters": ["repo:acme/llm:ref:refs/heads/main"], "pool": {"service": "vms"}},
    {"secrets": {"wandb": "file:/run/wandb"}},
    {"secrets": {"wandb": "hunter2"}},
    {"limits": {"gpus": 0}},
    {"limits": {"usd_per_job": 0}},
    {"shares": {"a-team": 1}},
    {"shares": {"nlp": 0}},
    {"shares": {"nlp": 1}, "pool": {"service": "vms"}},
    {"waivers": [{"rule": "encyption", "urn": "*", "until": "31.3.2027"}]},
    {"pins": {"job_image": "train:latest"}},
    {"tags": {"stack": "mine"}},
    {"tags": {"team": "a;b"}},
    {"tags": {"aws:team": "ml"}},
    {"tags": {"team": "ml", "Team": "ml"}},
    {"bugdet": {"usd_per_month": 100}},
)

_AZURE_RESERVATION = "/subscriptions/SUB/resourceGroups/GPUS/providers/Microsoft.Compute/capacityReservationGroups/NAME"
_AZURE_POOL: dict[str, Any] = {"machine": "Standard_ND96isr_H100_v5", "zone": "1", "max_nodes": 2, "service": "vms"}
_AZURE_STACK: dict[str, Any] = {
    **{key: _AWS_STACK[key] for key in ("owner", "expires", "buckets")},
    "cloud": "azure",
    "network": {"cidr": "10.40.0.0/16", "zones": ["1", "2"]},
    "pools": {"l4": _AZURE_POOL},
}
_AZURE_MISTAKES: tuple[dict[str, Any], ...] = (
    {"budget": {"usd_per_month": 100, "alert_at_percent": [10, 20, 30, 40, 50]}},
    {"budget": {"usd_per_month": 100}, "owner": "the platform team"},
    {"network": {"zones": ["1"], "cidr": "10.0.0.0/24"}},
    {"network": {"zones": []}},
    {"network": {"zones": ["1", "eastus-2"]}},
    {"network": {"existing": {"vpc_id": "hub", "subnet_ids": {"1": "gpus"}}}},
    {"buckets": {"runs": {"jobs": "write"}, "data": {"existing": "acme-data", "jobs": "read"}}},
    {"buckets": {"runs": {"jobs": "write", "open_to": ["10.0.0.1"]}}},
    {"buckets": {"runs": {"jobs": "write", "open_to": ["internet", "203.0.112.7"]}}},
    {"pool": {"machine": "Standard_ND96isr_H100"}},
    {"pool": {"machine": "Standard_ND96is_H100_v5"}},
    {"pool": {"machine": "Standard_NC24ads_A100_v4", "fabric_floor": 0.7}},
    {"pool": {"machine": "Standard_ND128isr_NDR_GB200_v6"}},
    {"pool": {"zone": None}},
    {"pool": {"zone": "3"}},
    {"pool": {"max_nodes": 101}},
    {"pool": {"image": "ubuntu"}},
    {"pool": {"machine": "Standard_NC24ads_A100_v4", "capacity": {"mode": "reservation", "reservation": "mine"}}},
    {"pool": {"capacity": {"mode": "reservation", "reservation": _AZURE_RESERVATION}}},
    {"pool": {"capacity": {"mode": "flex_start", "max_hours": 24}}},
    {"pool": {"service": "azureml"}},
    {"pool": {"service": "azureml", "zone": None, "disk_gib": 500}},
    {"pool": {"service": "azureml", "zone": None, "capacity": {"mode": "reservation", "reservation": "mine"}}},
    {"pool": {"service": "batch"}},
    {"submitters": [{"subject": "repo:acme/nlp-train:ref:refs/heads/*", "reason": "every branch is protected"}]},
    {"submitters": ["repo:acme/nlp-train:ref:refs/heads/main"]},
    {"secrets": {"wandb": "arn:aws:secretsmanager:us-east-1:111122223333:secret:wandb-AbCdEf"}},
    {"tags": {"stack": "mine"}},
    {"tags": {"a<b": "1"}},
)
_GCP_ZONES = ["us-central1-a", "us-central1-b"]
_GCP_POOL: dict[str, Any] = {"machine": "g2-standard-48", "zone": "us-central1-a", "max_nodes": 2, "service": "vertex"}
_GCP_STACK: dict[str, Any] = {
    "cloud": "gcp",
    "owner": "ml-platform@acme.io",
    "expires": "2027-03-31",
    "network": {"cidr": "10.40.0.0/16", "zones": _GCP_ZONES},
    "buckets": {"runs": {"jobs": "write"}},
    "pools": {"l4": _GCP_POOL},
}
_GCP_SUBNET = {"us-central1-a": "projects/acme/regions/us-central1/subnetworks/gpu"}
_GCP_RESERVED = {"mode": "reservation", "reservation": "projects/acme/zones/us-central1-b/reservations/h200"}
_GCP_HERE = {"mode": "reservation", "reservation": "projects/acme/zones/us-central1-a/reservations/h200"}
_GCP_MISTAKES: tuple[dict[str, Any], ...] = (
    {"owner": None},
    {"budget": {"usd_per_month": 99.5}},
    {"budget": {"usd_per_month": 100}, "owner": "the platform team"},
    {"network": {"zones": _GCP_ZONES, "cidr": "10.0.0.0/24"}},
    {"network": {"zones": []}},
    {"network": {"zones": [*_GCP_ZONES, "us-central1"]}},
    {"network": {"zones": [*_GCP_ZONES, "us-east4-a"]}},
    {"network": {"existing": {"vpc_id": "my-vpc", "subnet_ids": _GCP_SUBNET}}},
    {"network": {"existing": {"vpc_id": "projects/acme/global/networks/shared", "subnet_ids": {"us-central1-a": "gpu"}}}},
    {"buckets": {"runs": {"jobs": "write"}, "data": {"existing": "gs://acme-data"}}},
    {"pool": {"machine": "g2-standard-84"}},
    {"pool": {"machine": "a4x-maxgpu-4g-metal"}},
    {"pool": {"machine": "a4x-highgpu-4g"}},
    {"pool": {"machine": "a3-highgpu-2g"}},
    {"pool": {"machine": None, "accelerator": "H100:8"}},
    {"pool": {"service": "batch"}},
    {"pool": {"service": "vms", "zone": None}},
    {"pool": {"zone": "us-central1-f"}},
    {"pool": {"min_nodes": 1, "capacity": "spot"}},
    {"pool": {"capacity": {"mode": "capacity_block", "reservation": "cr-1", "ends": "2026-12-19T11:30:00Z"}}},
    {"pool": {"capacity": {"mode": "flex_start", "max_hours": 200}}},
    {"pool": {"capacity": {"mode": "reservation", "reservation": "h200"}}},
    {"pool": {"capacity": _GCP_RESERVED}},
    {"pool": {"service": "vms", "machine": "a3-ultragpu-8g", "min_nodes": 1, "max_nodes": 2, "capacity": _GCP_HERE}},
    {"pool": {"service": "vms", "web_access": True}},
    {"pool": {"service": "vms", "machine": "a4x-highgpu-4g", "max_nodes": 36, "capacity": _GCP_HERE}},
    {"pool": {"machine": "a3-megagpu-8g"}},
    {"pool": {"disk_gib": 50}},
    {"pool": {"image": "projects/acme/global/images/mine"}},
    {"pool": {"service": "vms", "image": "ubuntu"}},
    {"pool": {"keep_alive_minutes": 30}},
    {"submitters": ["*"]},
    {"submitters": ["repo:acme/llm:ref:refs/heads/main"], "pool": {"service": "vms"}},
    {"secrets": {"wandb": "hunter2"}},
    {"tags": {"Team": "ml"}},
    {"tags": {"gpuyard_stack": "mine"}},
)

MISTAKES: Mapping[str, Mistakes] = {
    "aws": Mistakes("us-east-1", _AWS_STACK, _AWS_POOL, _AWS_MISTAKES),
    "azure": Mistakes("eastus", _AZURE_STACK, _AZURE_POOL, _AZURE_MISTAKES),
    "gcp": Mistakes("us-central1", _GCP_STACK, _GCP_POOL, _GCP_MISTAKES),
}
