"""JobTarget v1: a pool to which jobs can be submitted. Components build it as plain data. This module defines and validates it.

A target contains ids, sizes, prices and references to secrets, but no secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..plain_data import PlainMapping
from ..problems import Problem, did_you_mean, problems_from
from .errors import NotFoundError, UsageError

__all__ = [
    "VERSION",
    "AnyTarget",
    "AzureMlTarget",
    "BatchTarget",
    "FabricExpectation",
    "JobTarget",
    "Limits",
    "LocalTarget",
    "Price",
    "SageMakerTarget",
    "SlurmTarget",
    "VertexTarget",
    "parse_target",
    "parse_targets",
    "pick_target",
]

VERSION = 1


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Model):
    """The limits of the yard for one job."""

    gpus: int | None = Field(None, ge=1, description="largest number of GPUs of one job, all nodes together; null = no limit")
    usd_per_job: float | None = Field(None, gt=0, description="largest max_cost_usd of a job; null = no limit")


class Price(_Model):
    """The price of one running node."""

    usd_per_node_hour: float | None = Field(description="USD for one node and hour; null = unknown")
    source: str = Field(description="source of the price, with its date")


class FabricExpectation(_Model):
    """The network between nodes that the preflight requires."""

    transport: str = Field(description="transport that NCCL must report in its log, e.g. NET/OFI")
    line_rate_gbps: float = Field(gt=0, description="line rate of one node's fast network, in Gb/s")
    floor: float | None = Field(
        gt=0, le=1, description="fraction of the line rate below which a job is refused; null = unknown, a slow network is a warning"
    )


class _Target(_Model):
    version: Literal[1] = 1
    stack: str = Field(pattern=r"^[^/]+/[^/]+$", description="project/stack that declared the pool")
    pool: str = Field(min_length=1, description="name of the pool in that stack")
    run_bucket: str = Field(description="URL of the run bucket, which holds runs and code")
    buckets: dict[str, str] = Field(description="logical name -> URL, for yard://<name>/<path>")
    machine: str
    accelerator: str | None = Field(description="GPU model, e.g. H100; null = no GPUs")
    gpus_per_node: int = Field(ge=0)
    nics_per_node: int = Field(0, ge=0, description="NICs of the fast network")
    min_nodes: int = Field(ge=0)
    max_nodes: int = Field(ge=1)
    limits: Limits = Limits(gpus=None, usd_per_job=None)
    fabric: FabricExpectation | None = Field(None, description="the fast network between nodes; null = none is required")
    price: Price
    secrets: dict[str, str] = Field(default_factory=dict, description="logical name -> reference, never a value")
    available_until: str | None = Field(
        None, description="UTC time at which the machines expire: end of a capacity block, or the yard's expiry; null = never"
    )
    default_image: str | None = Field(None, description="container image for jobs without `image:`")

    @property
    def slots(self) -> int:
        """The default number of processes per node: one for each GPU."""
        return max(self.gpus_per_node, 1)


class LocalTarget(_Target):
    """A pool of nodes on this machine."""

    kind: Literal["local"]
    pool_dir: str = Field(description="directory that holds pool.json and leases/ (docs/local-pool.md)")
    slots_per_node: int = Field(ge=1, description="number of GPUs, or of CPU slots if the node has no GPUs")

    @property
    def slots(self) -> int:
        """The default number of processes per node: one for each GPU or CPU slot."""
        return self.slots_per_node


class _CloudTarget(_Target):
    """Fields that the services of all clouds share."""

    region: str = Field(min_length=1, description="region of the pool, as its cloud names it: us-east-1, us-central1, eastus2")
    spot: bool = Field(description="true: the cloud may preempt the machines")
    encryption_key: str | None = Field(None, description="id of the encryption key of a job's disks and files; null = the cloud's own key")
    job_prefix: str = Field(
        pattern=r"^[a-z0-9-]{1,23}-$",
        description="prefix of every job and definition name; name-scoped policies rely on it",
    )


class _AwsTarget(_CloudTarget):
    """Fields that the AWS services share."""

    account_id: str = Field(pattern=r"^[0-9]{12}$", description="account of the pool")


class BatchTarget(_AwsTarget):
    """A pool behind an AWS Batch queue."""

    kind: Literal["batch"]
    job_queue: str = Field(description="ARN of the queue")
    job_role: str = Field(description="ARN of the role of a job's containers")
    execution_role: str = Field(description="ARN of the role that pulls the image and writes the log")
    log_group: str = Field(description="log group of the jobs")
    vcpus: int = Field(ge=1, description="vCPUs of one node")
    memory_mib: int = Field(ge=1, description="memory a job may reserve on one node, in MiB")
    teams: list[str] = Field(
        default_factory=list, description="teams that share the machines; each job must set labels.team; empty = first in, first out"
    )


class SageMakerTarget(_AwsTarget):
    """A pool of SageMaker training machines."""

    kind: Literal["sagemaker"]
    instance_type: str = Field(pattern=r"^ml\.", description="SageMaker instance type, such as ml.p5.48xlarge")
    role: str = Field(description="ARN of the role of training jobs")
    subnet_ids: list[str] = Field(min_length=1)
    security_group_ids: list[str] = Field(min_length=1)
    log_group: str = Field(description="log group of the jobs")
    model_package_group: str | None = Field(None, description="model package group for finished models; null = models are not registered")
    keep_alive_s: int = Field(
        0, ge=0, le=21600, description="seconds for which machines are kept running, and paid, after a job; 0 = released at once"
    )
    network_isolation: bool = Field(False, description="true: containers can reach only each other")
    encrypt_between_nodes: bool = Field(True, description="true: SageMaker encrypts the traffic between a job's nodes")


class VertexTarget(_CloudTarget):
    """A Vertex AI pool. Its custom jobs run on reserved machines, a persistent resource, or machines allocated for each job."""

    kind: Literal["vertex"]
    project: str = Field(min_length=1, description="id of the project")
    accelerator_type: str = Field(description="GPU in Vertex AI's enum AcceleratorType, e.g. NVIDIA_H100_80GB")
    strategy: Literal["standard", "spot", "flex_start"] = Field(description="how Vertex AI allocates machines for a job")
    reservation: str | None = Field(
        None,
        description="reservation shared with Vertex AI: projects/P/zones/Z/reservations/NAME; null = none; "
        "not allowed with spot or a persistent resource",
    )
    persistent_resource: str | None = Field(None, description="id of the persistent resource with the nodes; null = none")
    service_account: str = Field(description="email address of the jobs' service account")
    network_attachment: str | None = Field(
        None,
        description="projects/P/regions/R/networkAttachments/NAME: the yard's network (Private Service Connect); null = Vertex AI's own",
    )
    log_view: str | None = Field(
        None,
        description="projects/P/locations/L/buckets/B/views/NAME: log view that submitters may read; null = the project's logs",
    )
    web_access: bool = Field(False, description="whether each node of a job has a web address with a shell in its container")
    max_hours: int | None = Field(None, ge=1, le=168, description="longest run of a flex-start job in hours; null = Vertex AI's limit, 168")
    boot_disk_gib: int = Field(ge=100, description="boot disk of a node, in GiB")
    boot_disk_type: str = Field(description="disk type that the machine supports, such as pd-ssd or hyperdisk-balanced")


class AzureMlTarget(_CloudTarget):
    """A compute cluster of an Azure Machine Learning workspace."""

    kind: Literal["azureml"]
    subscription_id: str = Field(min_length=1)
    resource_group: str = Field(min_length=1)
    workspace: str = Field(min_length=1, description="name of the workspace")
    compute: str = Field(min_length=1, description="name of the compute cluster in the workspace")
    identity_client_id: str = Field(description="client id of the cluster's user-assigned identity, which jobs use")


class SlurmTarget(_Target):
    """A partition of a Slurm cluster. `gpuyard head` on the cluster takes the jobs from a queue in the run bucket."""

    kind: Literal["slurm"]
    partition: str = Field(min_length=1, description="partition of the cluster")


AnyTarget: TypeAlias = LocalTarget | BatchTarget | SageMakerTarget | VertexTarget | AzureMlTarget | SlurmTarget
JobTarget: TypeAlias = Annotated[AnyTarget, Field(discriminator="kind")]
_KINDS: dict[str, type[AnyTarget]] = {
    "local": LocalTarget,
    "batch": BatchTarget,
    "sagemaker": SageMakerTarget,
    "vertex": VertexTarget,
    "azureml": AzureMlTarget,
    "slurm": SlurmTarget,
}


def parse_target(data: PlainMapping, name: str = "target") -> JobTarget:
    """Validate one target. Raises UsageError for a newer version, an unknown kind or a malformed target."""
    version, kind = data.get("version"), data.get("kind")
    if isinstance(version, int) and version > VERSION:
        fix = "upgrade gpuyard on this machine, or run `pulumi up` with the older gpuyard"
        raise UsageError(f"{name} was written by a newer gpuyard", [Problem("version", "too new", f"{version}", f"<= {VERSION}", fix)])
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UsageError(f"{name} is not valid", [Problem("kind", "unknown", repr(kind), ", ".join(_KINDS))])
    try:
        return _KINDS[kind].model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{name} is not valid", problems_from(error, _KINDS[kind])) from None


def parse_targets(text: str | PlainMapping, source: str) -> dict[str, JobTarget]:
    """Parse the stack output `job_targets` or a targets.json: {pool: JobTarget}. Raises UsageError."""
    try:
        data = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source} is not JSON: {error}; run `pulumi up` to write it again") from None
    if not isinstance(data, Mapping) or not all(isinstance(value, Mapping) for value in data.values()):
        raise UsageError(f"{source} is not a mapping of job targets, allowed: {{pool: target}}; run `pulumi up` to write it again")
    return {pool: parse_target(value, f"target '{pool}' of {source}") for pool, value in data.items()}


def pick_target(targets: Mapping[str, JobTarget], pool: str | None, source: str) -> JobTarget:
    """Return the target of a pool. `pool` may be None when there is only one. Raises UsageError or NotFoundError."""
    if not targets:
        raise NotFoundError(f"no pool in {source} takes jobs; on a pool with service: vms run torchrun yourself")
    if pool is None:
        if len(targets) == 1:
            return next(iter(targets.values()))
        fix = "set pool: in the job file, or pass --pool"
        raise UsageError(f"{source} has several pools", [Problem("pool", "required", allowed=", ".join(targets), fix=fix)])
    if pool not in targets:
        problem = Problem("pool", "no pool of this name takes jobs", pool, ", ".join(targets), did_you_mean(pool, targets))
        raise UsageError(f"{source} has no pool '{pool}'", [problem])
    return targets[pool]
