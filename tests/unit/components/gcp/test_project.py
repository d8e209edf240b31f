"""The provider's region: as Google tells it, or a word on where to state it."""

from __future__ import annotations

import pulumi
import pytest

from gpuyard.components.gcp.project import require_region


def test_a_stated_region_is_taken() -> None:
    assert require_region("us-east4") == "us-east4"


@pytest.mark.parametrize("region", [None, ""])
def test_without_a_region_the_stack_file_is_named(region: str | None) -> None:
    with pytest.raises(pulumi.RunError, match="gcp:region: got nothing, allowed: a region"):
        require_region(region)
