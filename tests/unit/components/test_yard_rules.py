"""Each cloud's rules for existing buckets and networks of a stack file, which the spec cannot check."""

from __future__ import annotations

from typing import Any

import pytest

from gpuyard.components import registry
from gpuyard.components.spec import GpuPoolSpec, NetworkSpec
from gpuyard.components.validation.buckets import ExistingBucket

BUCKETS = {
    "aws": "acme",
    "gcp": "acme",
    "azure": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acme/blobServices/default/containers/nlp",
    "local": "/data",
}
POOL = GpuPoolSpec.model_construct(service="vms", max_nodes=1)
KEY = "has no effect: the storage decrypts for every reader, so jobs need no permission on the key; remove existing_key"
OPEN_TO = "has no effect: on this cloud only permissions control access to a bucket; remove open_to"


def problems(cloud: str, existing: ExistingBucket | None = None, **changes: Any) -> list[str]:
    """Return a yard's problems whose key begins with `buckets` or `network`."""
    yard: dict[str, Any] = {
        "region": None,
        "network": NetworkSpec(zones=["1"]),
        "existing_network": None,
        "existing_buckets": {"data": existing} if existing else {},
        "pools": {"lab": POOL},
        "submitters": [],
        "budget": None,
        "owner": None,
        "tags": {},
        **changes,
    }
    found = registry.cloud(cloud).yard_problems(**yard)
    return [str(problem) for problem in found if problem.key.startswith("buckets" if existing else "network")]


@pytest.mark.parametrize(("cloud", "expected"), [("aws", []), ("gcp", [KEY]), ("azure", [KEY]), ("local", [KEY])])
def test_existing_key_is_refused_where_storage_decrypts_for_every_reader(cloud: str, expected: list[str]) -> None:
    found = problems(cloud, ExistingBucket(BUCKETS[cloud], key="k"))
    assert found == [f"buckets.data.existing_key: {message}" for message in expected]


@pytest.mark.parametrize(("cloud", "expected"), [("aws", [OPEN_TO]), ("gcp", [OPEN_TO]), ("azure", []), ("local", [OPEN_TO])])
def test_open_to_is_refused_for_an_existing_bucket_except_on_azure(cloud: str, expected: list[str]) -> None:
    found = problems(cloud, ExistingBucket(BUCKETS[cloud], open_to=[]))
    assert found == [f"buckets.data.open_to: {message}" for message in expected]


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_a_network_to_create_needs_a_zone(cloud: str) -> None:
    assert [line.split(",")[0] for line in problems(cloud, network=NetworkSpec())] == ["network.zones: no zone"]
