"""Find a recorded resource's region: in its inputs, then in its provider's inputs, then in the stack's configuration."""

from __future__ import annotations

from collections.abc import Mapping

from pulumi.runtime.proto import resource_pb2

from ..registry import PACKAGES
from .recorder import properties

__all__ = ["cloud_of", "default_regions", "region_of"]

_CLOUDS = {package: cloud for cloud, package in PACKAGES.items()} | {f"gpuyard-{cloud}": cloud for cloud in PACKAGES}
_KEYS = {"aws": ("region",), "azure": ("location",), "gcp": ("region", "zone")}
"""Inputs of a provider, and of a resource, that set the region: pulumi.com/registry/packages/aws (gcp, azure-native), 2026-11."""


def cloud_of(token: str) -> str | None:
    """Return the cloud of a type token; None for Pulumi's own types and other packages."""
    return _CLOUDS.get(token.partition(":")[0])


def default_regions(config: Mapping[str, str]) -> dict[str, str | None]:
    """Return the region of each cloud's default provider. Only default providers read the stack's configuration."""
    return {cloud: _region(cloud, {key: config.get(f"{package}:{key}") for key in _KEYS[cloud]}) for cloud, package in PACKAGES.items()}


def region_of(
    request: resource_pb2.RegisterResourceRequest,
    inputs: Mapping[str, object],
    defaults: Mapping[str, str | None],
    registered: Mapping[str, resource_pb2.RegisterResourceRequest],
) -> str | None:
    """Return the region of a resource or component; None if a plan cannot know it.

    An explicit provider does not read the stack's configuration. Without an input for the region, its region is unknown.
    """
    cloud = cloud_of(request.type)
    if cloud is None:
        return None
    own = _region(cloud, inputs) if request.custom else None
    reference = request.provider or request.providers.get(PACKAGES[cloud], "")
    if own or not reference:
        return own or defaults.get(cloud)
    provider = registered.get(reference.rpartition("::")[0])
    return _region(cloud, properties(provider.object)) if provider else None


def _region(cloud: str, inputs: Mapping[str, object]) -> str | None:
    """Return the region that these inputs set. A zone of GCP contains its region; Azure also accepts display names, such as West Europe.

    A resource in `global`, such as a private DNS zone of Azure, has no region of its own.
    """
    for key in _KEYS[cloud]:
        value = inputs.get(key)
        if isinstance(value, str) and value and value.lower() != "global":
            name = value.rpartition("/")[2]
            return name.rpartition("-")[0] if key == "zone" else name.replace(" ", "").lower()
    return None
