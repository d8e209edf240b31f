"""The stock Pulumi program: settings -> components of the chosen cloud -> the exports `yard` and `job_targets`."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pulumi
from pulumi.runtime import config as pulumi_config

from gpuyard.components import registry
from gpuyard.components.spec import BucketSpec, GpuPoolSpec, NetworkSpec
from gpuyard.plain_data import PlainDict, PlainMapping
from gpuyard.problems import render_problems
from gpuyard.training_jobs.errors import UsageError
from gpuyard.training_jobs.target import parse_targets

from .settings import StackBucket, StackNetwork, StackSettings, in_namespace, load

__all__ = ["declare", "run"]

_JOB_SERVICE = "train"
_NETWORK = "net"
_BUDGET = "budget"
_NOTIFY = "notify"
_IMAGES = "images"


def run() -> None:
    """Declare the yard that the selected stack's settings describe, and export it."""
    declare(_settings())


def declare(settings: StackSettings) -> None:
    """Create the components of a yard, and export `yard`, `job_targets` and the outputs that users need."""
    cloud, tags = registry.cloud(settings.cloud), settings.all_tags
    _check_yard(cloud, settings)
    network = _network(cloud, settings, tags)
    buckets = {name: _bucket(cloud, name, bucket, tags) for name, bucket in settings.buckets.items()}
    pools = {name: cloud.GpuPool(name, _pinned(settings, name), network=network, **_login(settings), tags=tags) for name in settings.pools}
    jobs = cloud.JobService(
        _JOB_SERVICE,
        pools=list(pools.values()),
        reads=[buckets[name] for name in settings.read_buckets],
        writes=[buckets[settings.run_bucket]],
        secrets=settings.secrets,
        submitters=settings.submitters,
        limits=settings.limits,
        **({"shares": settings.shares} if settings.shares else {}),
        **({"image": settings.pins.job_image} if settings.pins.job_image else {}),
        tags=tags,
    )
    if settings.image_repository is not None:
        repository = cloud.ImageRepository(_IMAGES, **settings.image_repository.model_dump(), tags=tags)
        pulumi.export("image_repository", repository.url)
    if settings.notify is not None:
        cloud.Notify(_NOTIFY, **settings.notify.model_dump(), jobs=jobs, pools=list(pools.values()), tags=tags)
    if settings.budget is not None:
        cloud.Budget(_BUDGET, owner=settings.owner, **settings.budget.model_dump(), tags=tags)
    pulumi.export("yard", _summary(settings, buckets))
    pulumi.export("job_targets", jobs.targets.apply(_validated))
    for name, value in jobs.exports.items():
        pulumi.export(name, value)
    launchers = {name: _launcher(pool) for name, pool in pools.items() if settings.pools[name].service == "vms"}
    if launchers:
        pulumi.export("launchers", launchers)


def _check_yard(cloud: ModuleType, settings: StackSettings) -> None:
    """Raise pulumi.RunError with every problem of the yard. Without this check, `pulumi up` would stop after its first resources."""
    existing = settings.network.existing
    problems = cloud.yard_problems(
        region=_region(settings.cloud),
        network=_network_spec(settings.network),
        existing_network=(existing.vpc_id, existing.subnet_ids) if existing else None,
        existing_buckets=settings.existing_buckets,
        pools={name: _pinned(settings, name) for name in settings.pools},
        submitters=settings.subjects,
        budget=settings.budget,
        owner=settings.owner,
        tags=settings.all_tags,
    )
    if problems:
        heading = f"the settings of stack {pulumi.get_stack()} are not valid, nothing was created"
        raise pulumi.RunError(render_problems(heading, [in_namespace(problem) for problem in problems]))


def _region(cloud: str) -> str | None:
    """Return the region from the provider's own configuration. None: it is not set, or the cloud is `local`."""
    namespace, _, key = registry.REGION_KEYS.get(cloud, "").partition(":")
    return pulumi.Config(namespace).get(key) if namespace else None


def _settings() -> StackSettings:
    config = pulumi_config.CONFIG.get() or pulumi_config.get_config_env()
    secret = {key for key in config if pulumi_config.is_config_secret(key)}
    try:
        return load(config, secret, stack=pulumi.get_stack())
    except UsageError as error:
        raise pulumi.RunError(str(error)) from None


def _network(cloud: ModuleType, settings: StackSettings, tags: Mapping[str, str]) -> Any:
    network, existing = settings.network, settings.network.existing
    access = {"ssh_sources": settings.ssh.sources} if settings.ssh else {}
    if existing is not None:
        zones = {"private_zones": existing.private_zones} if existing.private_zones else {}
        return cloud.Network.adopt(_NETWORK, vpc_id=existing.vpc_id, subnet_ids=existing.subnet_ids, **zones, **access, tags=tags)
    return cloud.Network(_NETWORK, _network_spec(network), **access, tags=tags)


def _login(settings: StackSettings) -> PlainDict:
    """Return the argument of a pool whose machines accept an SSH key."""
    return {"ssh_public_key": settings.ssh.public_key} if settings.ssh else {}


def _network_spec(network: StackNetwork) -> NetworkSpec:
    return NetworkSpec(**network.model_dump(exclude={"existing"}, exclude_unset=True))


def _pinned(settings: StackSettings, pool: str) -> GpuPoolSpec:
    """Return a pool's spec with its pinned machine image, unless the pool names its own image."""
    spec, image = settings.pools[pool], settings.pins.machine_images.get(pool)
    return spec.model_copy(update={"image": image}) if image and spec.image is None else spec


def _launcher(pool: Any) -> PlainDict:
    """Return the commands that start a job on a `vms` pool without gpuyard: `pulumi stack output launchers`."""
    return {"scale": pool.scale_command, "hostfile": pool.hostfile_command, "torchrun": pool.torchrun, "reach": pool.reach_command}


def _bucket(cloud: ModuleType, name: str, bucket: StackBucket, tags: Mapping[str, str]) -> Any:
    if bucket.existing is not None:
        key = {"key_arn": bucket.existing_key} if bucket.existing_key else {}
        access = {"open_to": bucket.open_to} if "open_to" in bucket.model_fields_set else {}
        return cloud.Bucket.adopt(name, bucket=bucket.existing, **key, **access, tags=tags)
    return cloud.Bucket(name, BucketSpec(**bucket.model_dump(include=set(BucketSpec.model_fields))), tags=tags)


def _summary(settings: StackSettings, buckets: PlainMapping) -> PlainDict:
    return {
        "cloud": settings.cloud,
        "owner": settings.owner,
        "expires": settings.expires,
        "pools": {name: spec.model_dump(exclude_unset=True) for name, spec in settings.pools.items()},
        "buckets": {name: bucket.url for name, bucket in buckets.items()},
    }


def _validated(targets: PlainDict) -> PlainDict:
    """Validate the targets as `submit` does, so that a broken contract fails at `pulumi up`."""
    try:
        parse_targets(targets, "the stack's export job_targets")
    except UsageError as error:
        raise pulumi.RunError(f"{error}\nThis is an internal error of gpuyard; please report it") from None
    return targets
