"""No group or environment states a size that an `up` would set back while machines run. Azure: azure/test_scale_set.py."""

from __future__ import annotations

from typing import Any

from tests.helpers import aws_sample_pools, gcp_sample_pools


def test_aws_groups_and_batch_environments_state_no_present_size(record: Any) -> None:
    group = record(aws_sample_pools.pool(aws_sample_pools.VMS)).inputs(aws_sample_pools.GROUP, "pool-machines")
    assert "desiredCapacity" not in group
    [environment] = [
        each
        for each in record(aws_sample_pools.pool(aws_sample_pools.BATCH)).resources.values()
        if each.type == aws_sample_pools.ENVIRONMENT
    ]
    assert "desiredVcpus" not in environment.object["computeResources"]


def test_google_groups_ignore_their_present_size(record: Any) -> None:
    recorded = record(gcp_sample_pools.pool(gcp_sample_pools.VMS))
    assert "targetSize" in recorded.one("gcp:compute/instanceGroupManager:InstanceGroupManager", "pool-machines").ignoreChanges
