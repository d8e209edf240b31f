"""Look up the newest machine image of each pool at its cloud, for `gpuyard pin`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..settings import StackSettings

__all__ = ["has_images", "newest_images"]

_ARM = "https://management.azure.com"
_ARM_VERSION = "2024-07-01"
_Newest = Callable[["StackSettings", str, Mapping[str, str]], dict[str, str]]


def newest_images(settings: StackSettings, region: str, config: Mapping[str, str]) -> dict[str, str]:
    """Return the newest machine image by pool. Pools that name their own image, or whose service chooses it, are left out."""
    return _CLOUDS[settings.cloud](settings, region, config)


def has_images(cloud: str) -> bool:
    """Return whether a cloud has machine images to pin."""
    return cloud in _CLOUDS


def _aws(settings: StackSettings, region: str, _config: Mapping[str, str]) -> dict[str, str]:
    from gpuyard.components.aws.images import image_parameter
    from gpuyard.training_jobs.clouds.aws import aws_clients

    wanted = {}
    for name, spec in settings.pools.items():
        parameter = None if spec.image else image_parameter(spec.service, spec.row("aws").architecture)
        if parameter:
            wanted[name] = parameter
    aws = aws_clients(region)
    found = {parameter: aws.call("ssm", "get_parameter", {"Name": parameter}) for parameter in sorted(set(wanted.values()))}
    return {name: str(found[parameter]["Parameter"]["Value"]) for name, parameter in wanted.items()}


def _azure(settings: StackSettings, region: str, config: Mapping[str, str]) -> dict[str, str]:
    from gpuyard.components.azure.images import ImageUrn, image_urn

    wanted: dict[str, ImageUrn] = {}
    for name, spec in settings.pools.items():
        urn = None if spec.image else image_urn(spec.service, spec.row("azure").architecture)
        if urn:
            wanted[name] = urn
    found = {urn: _newest_version(urn, region, config) for urn in sorted(set(wanted.values()))}
    return {name: str(urn._replace(version=found[urn])) for name, urn in wanted.items()}


def _newest_version(urn: tuple[str, str, str, str], region: str, config: Mapping[str, str]) -> str:
    from gpuyard.problems import Problem
    from gpuyard.training_jobs.clouds.azure import azure_clients
    from gpuyard.training_jobs.errors import UsageError

    subscription = config.get("azure-native:subscriptionId") or os.environ.get("ARM_SUBSCRIPTION_ID")
    if not subscription:
        fix = "set it in the stack file, or set ARM_SUBSCRIPTION_ID: Azure lists images per subscription"
        raise UsageError("the stack cannot be pinned", [Problem("azure-native:subscriptionId", "not set", fix=fix)])
    publisher, offer, sku, _ = urn
    base = f"{_ARM}/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/publishers/{publisher}"
    url = f"{base}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions?api-version={_ARM_VERSION}"
    versions = [str(each["name"]) for each in azure_clients().call("GET", url, audience=_ARM).json()]
    if not versions:
        raise UsageError(f"{publisher}:{offer}:{sku} has no version in {region}; set image in the pools")
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def _gcp(settings: StackSettings, region: str, config: Mapping[str, str]) -> dict[str, str]:
    from gpuyard.components.gcp.machines import IMAGE_PROJECT, image_family
    from gpuyard.training_jobs.clouds.gcp import gcp_clients

    pools = {name: spec for name, spec in settings.pools.items() if spec.service == "vms" and spec.image is None}
    wanted = {name: image_family(spec.row("gcp")) for name, spec in pools.items()}
    google = gcp_clients(config.get("gcp:project", ""), region)
    found = {family: google.newest_image(IMAGE_PROJECT, family) for family in sorted(set(wanted.values()))}
    return {name: found[family] for name, family in wanted.items()}


_CLOUDS: Mapping[str, _Newest] = {"aws": _aws, "azure": _azure, "gcp": _gcp}
