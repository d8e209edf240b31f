"""Finds leftovers of a stack on Google Cloud for `make live`: resources with the stack's label that cost money after the destroy."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from gpuyard.components.gcp.labels import STACK_LABEL, label_value
from gpuyard.training_jobs.clouds.gcp import GcpClients

__all__ = ["leftovers"]

# A destroy leaves these on purpose, and they cost nothing (docs/gcp.md). A custom job that ended is a record without machines.
_KEPT = ("compute.googleapis.com/InstanceTemplate", "cloudkms.googleapis.com/CryptoKey", "aiplatform.googleapis.com/CustomJob")
_PAGE = 500  # the most: cloud.google.com/asset-inventory/docs/reference/rest/v1/TopLevel/searchAllResources (2026-12-01)


def leftovers(stack: str, project: str, google: GcpClients) -> list[str]:
    """Return the full names of resources with the stack's label, as Cloud Asset Inventory lists them. It lags by some minutes."""
    return [str(found["name"]) for found in _labelled(stack, project, google) if found["assetType"] not in _KEPT]


def _labelled(stack: str, project: str, google: GcpClients) -> Iterator[dict[str, object]]:
    query = {"query": f'labels.{STACK_LABEL}="{label_value(stack)}"', "pageSize": str(_PAGE)}
    while True:
        page = google.read("cloudasset", f"v1/projects/{project}:searchAllResources?{urlencode(query)}")
        yield from page.get("results", ())
        if not page.get("nextPageToken"):
            return
        query["pageToken"] = page["nextPageToken"]
