"""What each job service takes: one row for each service of a cloud. A rule that needs a cloud's own words is in that cloud's folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Mode = Literal["on_demand", "spot", "reservation", "capacity_block", "flex_start"]


class Service(NamedTuple):
    """One job service on one cloud."""

    zone: Literal["required", "optional", "refused"]
    """Required where the machines are the yard's own; where the service has them it says at most which subnet or reservation."""
    modes: tuple[Mode, ...]
    """How machines can be bought."""
    multi_node_modes: tuple[Mode, ...]
    """How they can be bought where a job takes several nodes."""
    takes_jobs: bool = True
    """Whether `gpuyard submit` can send jobs there."""
    holds_nodes: bool = True
    """Whether machines can be kept, and paid, while no job runs: min_nodes."""
    list_prices: bool = True
    """Whether a node costs the machine's list price; else the service has rates of its own, which no catalogue of ours knows."""
    machine_image: bool = True
    """Whether the yard chooses the machine image; else the service does."""
    warm_modes: tuple[Mode, ...] = ()
    """How machines must be bought for the service to hold those of a job that ended for the next one: keep_alive_minutes."""
    isolates: bool = False
    """Whether the service can cut a job's containers off from every network: network_isolation."""


_AWS: tuple[Mode, ...] = ("on_demand", "spot", "reservation", "capacity_block")
_GCP: tuple[Mode, ...] = ("on_demand", "spot", "reservation", "flex_start")
_AZURE: tuple[Mode, ...] = ("on_demand", "spot", "reservation")

SERVICES: Mapping[str, Mapping[str, Service]] = MappingProxyType(
    {
        "local": {"local": Service("refused", ("on_demand",), ("on_demand",))},
        "aws": {
            # no multi-node job on spot: docs.aws.amazon.com/batch/latest/userguide/mnp-ce.html
            "batch": Service("required", _AWS, ("on_demand", "reservation", "capacity_block")),
            # its own ml.* machines; EC2 reservations do not reach it; warm pools take no spot machines:
            # docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
            "sagemaker": Service(
                "optional",
                ("on_demand", "spot"),
                ("on_demand", "spot"),
                holds_nodes=False,
                list_prices=False,
                machine_image=False,
                warm_modes=("on_demand",),
                isolates=True,
            ),
            "vms": Service("required", _AWS, _AWS, takes_jobs=False),
        },
        "gcp": {
            # held nodes are a persistent resource; training has its own rates, a fee included: cloud.google.com/vertex-ai/pricing
            "vertex": Service("optional", _GCP, _GCP, list_prices=False, machine_image=False),
            "vms": Service("required", _GCP, _GCP, takes_jobs=False),
        },
        "azure": {
            # a cluster costs what its machines cost: azure.microsoft.com/pricing/details/machine-learning; its quota is the service's own,
            # and its machines are in the workspace's network: learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
            "azureml": Service("refused", ("on_demand", "spot"), ("on_demand", "spot"), machine_image=False),
            "vms": Service("required", _AZURE, _AZURE, takes_jobs=False),
        },
    }
)


def service(name: str, cloud: str | None = None) -> Service | None:
    """The row of a service; where the cloud is not known, what any cloud's takes. None: there is no such service (there)."""
    rows = [SERVICES[here][name] for here in _among(cloud) if name in SERVICES[here]]
    if not rows:
        return None
    return rows[0]._replace(
        modes=tuple(_once(mode for row in rows for mode in row.modes)),
        multi_node_modes=tuple(_once(mode for row in rows for mode in row.multi_node_modes)),
    )


def services_of(cloud: str) -> list[str]:
    """The services of a cloud."""
    return list(SERVICES.get(cloud, {}))


def clouds_of(name: str, cloud: str | None = None) -> tuple[str, ...]:
    """The clouds that have a service of that name; `cloud` narrows them, where it is one."""
    return tuple(here for here in _among(cloud) if name in SERVICES[here])


def alternatives(name: str, mode: Mode, cloud: str | None = None) -> list[str]:
    """The services of the same cloud that run multi-node jobs on machines bought this way; those that take jobs come first."""
    rows = {other: row for here in clouds_of(name, cloud) for other, row in SERVICES[here].items()}
    able = [other for other, row in rows.items() if mode in row.multi_node_modes]
    return sorted(able, key=lambda other: not rows[other].takes_jobs)


def _among(cloud: str | None) -> tuple[str, ...]:
    return (cloud,) if cloud is not None and cloud in SERVICES else tuple(SERVICES)


def _once(modes: Iterable[Mode]) -> Iterator[Mode]:
    return iter(dict.fromkeys(modes))
