"""Finds leftovers of a stack on Azure for `make live`: resources and groups with the stack's tag that cost money after the destroy."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from gpuyard.training_jobs.clouds.azure import AzureClients

__all__ = ["leftovers"]

_ARM = "https://management.azure.com"
_VERSION = "2021-04-01"


def leftovers(stack: str, subscription: str, azure: AzureClients) -> list[str]:
    """Return the ids of resources and resource groups with the stack's tag. Soft-deleted vaults are not listed and cost nothing."""
    return [found for kind in ("resourcegroups", "resources") for found in _tagged(kind, stack, subscription, azure)]


def _tagged(kind: str, stack: str, subscription: str, azure: AzureClients) -> Iterator[str]:
    tag = quote(f"tagName eq 'stack' and tagValue eq '{stack}'")
    url: str | None = f"{_ARM}/subscriptions/{subscription}/{kind}?api-version={_VERSION}&$filter={tag}"
    while url:
        page = azure.call("GET", url, audience=_ARM).json()
        yield from (str(each["id"]) for each in page["value"])
        url = page.get("nextLink")
