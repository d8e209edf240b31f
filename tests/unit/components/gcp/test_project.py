"""The provider's region: returned, or an error that says where to set it."""

from __future__ import annotations

import pulumi
import pytest

from gpuyard.components.gcp.project import require_billing_account, require_region


def test_a_configured_region_is_returned() -> None:
    assert require_region("us-east4") == "us-east4"


@pytest.mark.parametrize("region", [None, ""])
def test_without_a_region_the_error_names_the_stack_file(region: str | None) -> None:
    with pytest.raises(pulumi.RunError, match=r"gcp:region: no region is configured, allowed: a region, .*; add it to the stack file"):
        require_region(region)


def test_a_readable_billing_account_is_returned() -> None:
    assert require_billing_account("01AB23-45CD67-89EF01", "acme-ml") == "01AB23-45CD67-89EF01"


@pytest.mark.parametrize("account", [None, ""])
def test_without_a_billing_account_the_error_says_what_to_enable(account: str | None) -> None:
    """The provider reads an empty account where the Cloud Billing API is off; the budget's request would then have no account."""
    with pytest.raises(
        pulumi.RunError, match=r"budget: the billing account of the project acme-ml cannot be read.*cloudbilling\.googleapis"
    ):
        require_billing_account(account, "acme-ml")
