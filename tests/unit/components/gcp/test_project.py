"""The provider's region: returned, or an error that says where to set it."""

from __future__ import annotations

import pulumi
import pytest

from gpuyard.components.gcp.project import require_region


def test_a_configured_region_is_returned() -> None:
    assert require_region("us-east4") == "us-east4"


@pytest.mark.parametrize("region", [None, ""])
def test_without_a_region_the_error_names_the_stack_file(region: str | None) -> None:
    with pytest.raises(pulumi.RunError, match=r"gcp:region: no region is configured, allowed: a region, .*; add it to the stack file"):
        require_region(region)
