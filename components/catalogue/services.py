"""Features of each job service: one row for each service of a cloud. Rules for a single cloud are in that cloud's folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

__all__ = ["SERVICES", "Mode", "Service", "alternatives", "clouds_of", "service", "services_of"]

Mode = Literal["on_demand", "spot", "reservation", "capacity_block", "flex_start"]


class Service(NamedTuple):
    """One job service on one cloud."""

    zone: Literal["required", "optional", "refused"]
    """Rule for a pool's zone. Where it is optional, the zone only selects a subnet or a reservation."""
    modes: tuple[Mode, ...]
    """Purchase modes that the service accepts."""
    multi_node_modes: tuple[Mode, ...]
    """Purchase modes that the service accepts for jobs with several nodes."""
    takes_jobs: bool = True
    """Whether `gpuyard submit` can submit jobs to it."""
    keeps_nodes: bool = True
    """Whether machines can keep running, and cost money, while no job runs (min_nodes)."""
    list_prices: bool = True
    """Whether a node costs the machine's list price. If not, the service has other prices, which the catalogue does not have."""
    machine_image: bool = True
    """Whether the yard chooses the machine image. If not, the service chooses it."""
    warm_modes: tuple[Mode, ...] = ()
    """Purchase modes in which the service keeps a finished job's machines warm for the next job (keep_alive_minutes)."""
    encrypts: bool = False
    """Whether the service can encrypt the traffic between a job's nodes (encrypt_between_nodes)."""
    isolates: bool = False
    """Whether the service can block all network traffic of a job's containers (network_isolation)."""
    opens_shells: bool = False
    """Whether the service can open a shell in a job's containers in the browser (web_access)."""
    stops: bool = False
    """Whether a pool stops after too many replacements of machines (max_replacements_per_hour)."""


_AWS: tuple[Mode, ...] = ("on_demand", "spot", "reservation", "capacity_block")
_GCP: tuple[Mode, ...] = ("on_demand", "spot", "reservation", "flex_start")
_AZURE: tuple[Mode, ...] = ("on_demand", "spot", "reservation")

SERVICES: Mapping[str, Mapping[str, Service]] = MappingProxyType(
    {
        "local": {"local": Service("refused", ("on_demand",), ("on_demand",))},
        "aws": {
            # no multi-node jobs on spot: docs.aws.amazon.com/batch/latest/userguide/mnp-ce.html
            "batch": Service("required", _AWS, ("on_demand", "reservation", "capacity_block"), stops=True),
            # it has its own ml.* machines, cannot use EC2 reservations, and keeps no spot machines warm:
            # docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
            "sagemaker": Service(
                "optional",
                ("on_demand", "spot"),
                ("on_demand", "spot"),
                keeps_nodes=False,
                list_prices=False,
                machine_image=False,
                warm_modes=("on_demand",),
                encrypts=True,
                isolates=True,
            ),
            "vms": Service("required", _AWS, _AWS, takes_jobs=False, stops=True),
        },
        "gcp": {
            # min_nodes is a persistent resource; training has its own rates with a fee: cloud.google.com/vertex-ai/pricing
            "vertex": Service("optional", _GCP, _GCP, list_prices=False, machine_image=False, opens_shells=True),
            "vms": Service("required", _GCP, _GCP, takes_jobs=False, stops=True),
        },
        "azure": {
            # a cluster costs as much as its machines: azure.microsoft.com/pricing/details/machine-learning. It has its own quota, and its
            # machines are in the workspace's network: learn.microsoft.com/azure/machine-learning/how-to-manage-quotas
            "azureml": Service("refused", ("on_demand", "spot"), ("on_demand", "spot"), machine_image=False),
            "vms": Service("required", _AZURE, _AZURE, takes_jobs=False, stops=True),
        },
    }
)


def service(name: str, cloud: str | None = None) -> Service | None:
    """Return the features of a service; None if there is no such service. Without `cloud`, it has the modes of all clouds."""
    rows = [SERVICES[here][name] for here in _among(cloud) if name in SERVICES[here]]
    if len(rows) < 2:
        return rows[0] if rows else None
    return rows[0]._replace(
        modes=tuple(_once(mode for row in rows for mode in row.modes)),
        multi_node_modes=tuple(_once(mode for row in rows for mode in row.multi_node_modes)),
    )


def services_of(cloud: str) -> list[str]:
    """Return the services of a cloud."""
    return list(SERVICES.get(cloud, {}))


def clouds_of(name: str, cloud: str | None = None) -> tuple[str, ...]:
    """Return the clouds that have a service. `cloud`: search only this cloud."""
    return tuple(here for here in _among(cloud) if name in SERVICES[here])


def alternatives(name: str, mode: Mode, cloud: str | None = None) -> list[str]:
    """Return the services of the same clouds that run multi-node jobs in this mode. Services that take jobs come first."""
    rows = {other: row for here in clouds_of(name, cloud) for other, row in SERVICES[here].items()}
    able = [other for other, row in rows.items() if mode in row.multi_node_modes]
    return sorted(able, key=lambda other: not rows[other].takes_jobs)


def _among(cloud: str | None) -> tuple[str, ...]:
    return (cloud,) if cloud is not None and cloud in SERVICES else tuple(SERVICES)


def _once(modes: Iterable[Mode]) -> Iterator[Mode]:
    return iter(dict.fromkeys(modes))
