"""The specs of a yard and its parts: frozen pydantic models with the same keys on every cloud, without Pulumi.

Each description has the unit and the effect of the default. Rules of one cloud are in the cloud's folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from ...problems import Problem, show
from .capacity import CapacityBlock, FlexStart, Reservation
from .fields import INTERNET, LOCAL, MAIL, Cidr, Date, ImageDigest, Name, PublicAddress, SecretReference, Spec, cloud_of, in_cloud, invalid
from .pool import GpuPoolSpec
from .ssh import SshAccess, SshSpec
from .submitter import SubmitterSpec

__all__ = [
    "BucketSpec",
    "BudgetSpec",
    "CapacityBlock",
    "FlexStart",
    "GpuPoolSpec",
    "LimitsSpec",
    "Name",
    "NetworkSpec",
    "NotifySpec",
    "PinsSpec",
    "RepositorySpec",
    "Reservation",
    "SecretReference",
    "Shares",
    "Spec",
    "SshSpec",
    "YardSpec",
    "in_cloud",
]


class NetworkSpec(Spec):
    """The network of a yard's nodes: addresses, zones and egress."""

    cidr: Cidr | None = Field(None, description="addresses in CIDR notation; default 10.0.0.0/16, on `local` 127.77.0.0/24")
    zones: list[str] = Field(
        default_factory=list, description="zones with a private subnet; at least one, except on `local`, where the default is none"
    )
    egress: Literal["nat", "endpoints", "none"] = Field(
        "nat",
        description="egress of the private subnets: nat (default: the internet), endpoints (only the cloud's services) or none "
        "(only object storage)",
    )
    egress_ports: list[Literal[22, 80]] = Field(
        default_factory=list,
        description="TCP ports that nodes may reach on the internet besides 443: 22 (git over ssh) and 80 (apt over http); only with "
        "`egress: nat`; default: none",
    )

    @property
    def known_zones(self) -> list[str]:
        """The zones that pools can use."""
        return self.zones

    @field_validator("egress_ports")
    @classmethod
    def _check_egress_ports(cls, ports: list[int], info: ValidationInfo) -> list[int]:
        if ports and cloud_of(info) == LOCAL:
            raise invalid(ports, "no ports on `local`, whose nodes use this machine's network", "remove egress_ports")
        if ports and info.data.get("egress", "nat") != "nat":
            raise invalid(ports, f"no ports with egress: {info.data['egress']}, which has no route to the internet", "set egress: nat")
        if len(set(ports)) != len(ports):
            raise invalid(ports, "each port once")
        return ports

    @field_validator("zones")
    @classmethod
    def _check_zones(cls, zones: list[str], info: ValidationInfo) -> list[str]:
        if zones and cloud_of(info) == LOCAL:
            raise invalid(zones, "no zones on `local`", "remove zones")
        if len(set(zones)) != len(zones):
            raise invalid(zones, "each zone once")
        return zones


class BucketSpec(Spec):
    """A bucket that the yard creates."""

    on_destroy: Literal["keep", "delete"] = Field(
        "keep", description="action of `pulumi destroy` on the bucket and its data: keep (default) or delete"
    )
    open_to: list[PublicAddress] = Field(
        default_factory=list,
        description="azure: public addresses that may connect to the bucket, or internet for all; every access also needs a role; "
        "default: only the yard's network",
    )

    access_logs: bool = Field(
        False,
        description="gcp: true also writes Cloud Storage's access logs to a second bucket; an organisation policy can refuse the grant "
        "for it; default false",
    )

    @field_validator("access_logs")
    @classmethod
    def _check_access_logs(cls, access_logs: bool, info: ValidationInfo) -> bool:
        if access_logs and cloud_of(info) not in (None, "gcp"):
            raise invalid(access_logs, "only for cloud: gcp", "remove access_logs")
        return access_logs

    @field_validator("open_to")
    @classmethod
    def _check_open_to(cls, open_to: list[str], info: ValidationInfo) -> list[str]:
        if open_to and cloud_of(info) not in (None, "azure"):
            raise invalid(open_to, "only for cloud: azure; on other clouds only permissions control access", "remove open_to")
        if INTERNET in open_to and len(open_to) > 1:
            raise invalid(open_to, f"{INTERNET} alone, or addresses without it")
        return open_to


class LimitsSpec(Spec):
    """Limits of one job."""

    gpus: int | None = Field(None, ge=1, description="largest number of GPUs of one job, all nodes together; default: no limit")
    usd_per_job: float | None = Field(None, gt=0, description="largest cost of one job in USD; default: no limit")


class BudgetSpec(Spec):
    """A monthly budget. It alerts the owner and stops no machine."""

    usd_per_month: float = Field(gt=0, description="budget of a calendar month in USD")
    alert_at_percent: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=lambda: [50, 80, 100],
        min_length=1,
        description="percentages of the budget at which the owner gets a mail; default 50, 80 and 100",
    )


_TEAM = re.compile(r"[A-Za-z0-9]{1,63}")
_MOST_TEAMS = 500  # docs.aws.amazon.com/batch/latest/APIReference/API_ShareAttributes.html, read on 2026-12-01


def _team(value: str) -> str:
    if not _TEAM.fullmatch(value):
        raise invalid(value, "a team's name of letters and digits, at most 63, which AWS Batch and labels accept")
    return value


Shares = Annotated[Mapping[Annotated[str, AfterValidator(_team)], Annotated[int, Field(ge=1, le=1000)]], Field(max_length=_MOST_TEAMS)]
"""Team -> its share of the machines, relative to the shares of other teams."""
Event = Literal["failed", "stopped", "idle", "blocked"]


class NotifySpec(Spec):
    """Mail about jobs and idle machines."""

    email: list[str] = Field(min_length=1, description="mail addresses; each must confirm its subscription once")
    on: list[Event] = Field(
        default_factory=lambda: list[Event](("failed", "stopped", "blocked")),
        min_length=1,
        description="events that send a mail: failed, stopped (resumable), blocked (the first job of a queue cannot run, or a pool stopped "
        "because its machines are broken), idle (machines that run and do nothing); default failed, stopped and blocked",
    )

    @field_validator("email")
    @classmethod
    def _check_email(cls, email: list[str]) -> list[str]:
        wrong = [address for address in email if not MAIL.fullmatch(address)]
        if wrong or len(set(email)) != len(email):
            raise invalid(wrong or email, "mail addresses such as ml-platform@acme.io, each once")
        return email


class PinsSpec(Spec):
    """Images that `gpuyard pin` resolved. Review them like a lock file."""

    machine_images: Mapping[Name, str] = Field(
        default_factory=dict, description="machine image by pool; default: the vendor's newest image at each `pulumi up`"
    )
    job_image: ImageDigest | None = Field(
        None, description="default container image of jobs, by digest; default: none, so each job must set `image`"
    )


class RepositorySpec(Spec):
    """A registry for the container images of jobs."""

    on_destroy: Literal["keep", "delete"] = Field(
        "keep", description="action of `pulumi destroy` on the repository and its images: keep (default) or delete"
    )


class YardSpec(Spec):
    """One yard: what one Pulumi stack declares."""

    cloud: Literal["local", "aws", "gcp", "azure"] = Field(description="the yard's cloud: local (this machine), aws, gcp or azure")
    owner: str | None = Field(
        None,
        min_length=1,
        validate_default=True,
        description="mail address of the person responsible for the yard; required, except on `local` (default: none)",
    )
    expires: Date | None = Field(
        None,
        validate_default=True,
        description='date on which the pools go to zero nodes, quoted ("2027-03-31"), or never; required, except on `local` '
        "(default: none)",
    )
    budget: BudgetSpec | None = Field(None, description="USD per month and alert percentages; default: no budget")
    notify: NotifySpec | None = Field(None, description="aws, gcp: mail about jobs and idle machines; default: no mail")
    image_repository: RepositorySpec | None = Field(None, description="aws: a registry for the images of jobs; default: none")
    ssh: SshAccess = Field(None, description="azure: SSH access to the machines of `vms` pools; default: nobody can log in")
    network: NetworkSpec = Field(
        NetworkSpec(), validate_default=True, description="addresses, zones and egress; default: the defaults of each field"
    )
    buckets: Mapping[Name, BucketSpec] = Field(default_factory=dict, description="buckets by logical name; default: none")
    pools: Mapping[Name, GpuPoolSpec] = Field(min_length=1, description="pools by name, at least one")
    submitters: list[str | SubmitterSpec] = Field(
        default_factory=list,
        description="who may submit jobs: CI pipelines, as GitHub token subjects such as repo:org/name:ref:refs/heads/main, and people or "
        "groups, as ARN of an IAM role or user (aws), group:NAME@DOMAIN or user:NAME@DOMAIN (gcp), group:OBJECT-ID or user:OBJECT-ID "
        "(azure); default: none. A subject with * or for pull requests needs {subject: ..., reason: ...}; on gcp "
        "{subject: ..., repository_id: ...} accepts only the repository with this number",
    )
    secrets: Mapping[str, SecretReference] = Field(default_factory=dict, description="references to secrets by logical name; default: none")
    limits: LimitsSpec = Field(LimitsSpec(), description="limits of one job; default: no limits")
    shares: Shares = Field(
        default_factory=dict,
        description="aws: team -> its share of the `batch` pools' machines, 1 to 1000, such as {nlp: 2, vision: 1}; a job names its team "
        "in labels.team; default: none, jobs start in the order of submission",
    )
    pins: PinsSpec = Field(PinsSpec(), description="images pinned by `gpuyard pin`; default: none")
    tags: Mapping[str, str] = Field(default_factory=dict, description="tags of every resource; default: none")

    @property
    def subjects(self) -> list[str]:
        """The subjects of all submitters."""
        return [each.subject if isinstance(each, SubmitterSpec) else each for each in self.submitters]

    @property
    def all_tags(self) -> dict[str, str]:
        """Tags of every component: the user's tags, `owner` and `expires`."""
        known = {"owner": self.owner, "expires": self.expires}
        return {**self.tags, **{key: value for key, value in known.items() if value is not None}}

    @field_validator("owner", "expires")
    @classmethod
    def _require_on_clouds(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("cloud", "local") != "local":
            raise ValueError(Problem("", "required on a cloud, because machines cost money", fix=f"set {info.field_name}"))
        return value

    @field_validator("budget", "pins")
    @classmethod
    def _refuse_on_local(cls, value: BudgetSpec | PinsSpec | None, info: ValidationInfo) -> BudgetSpec | PinsSpec | None:
        if info.data.get("cloud") == LOCAL:
            raise ValueError(Problem("", "has no effect on `local`", fix=f"remove {info.field_name}"))
        return value

    @field_validator("notify", "image_repository")
    @classmethod
    def _refuse_off_cloud(cls, value: NotifySpec | RepositorySpec | None, info: ValidationInfo) -> NotifySpec | RepositorySpec | None:
        clouds = ("aws", "gcp") if info.field_name == "notify" else ("aws",)
        if value is not None and info.data.get("cloud") not in (None, *clouds):
            what, fix = "not available on this cloud yet", f"remove {info.field_name}"
            raise ValueError(Problem("", what, str(info.data["cloud"]), f"cloud: {' or '.join(clouds)}", fix))
        return value

    @field_validator("shares")
    @classmethod
    def _check_shares(cls, shares: Shares, info: ValidationInfo) -> Shares:
        pools = info.data.get("pools") or {}
        if shares and pools and not any(pool.service == "batch" for pool in pools.values()):
            what, fix = "no pool can share its machines", "remove shares, or use service: batch on AWS"
            raise ValueError(Problem("", what, ", ".join(shares), "a pool with service: batch", fix))
        return shares

    @field_validator("pools")
    @classmethod
    def _check_zones_of_pools(cls, pools: Mapping[str, GpuPoolSpec], info: ValidationInfo) -> Mapping[str, GpuPoolSpec]:
        network = info.data.get("network")
        zones = network.known_zones if network else []
        wrong = [(name, pool.zone) for name, pool in pools.items() if zones and pool.zone and pool.zone not in zones]
        if wrong:
            allowed = f"a zone of the network: {', '.join(zones)}"
            raise ValueError(*(Problem(f"{name}.zone", "wrong value", show(zone), allowed) for name, zone in wrong))
        return pools
