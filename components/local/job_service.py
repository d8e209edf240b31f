"""The job service of a local yard: where jobs can go, one target per pool. No daemon: `gpuyard` does the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pulumi
from pulumi import dynamic
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ..base import Tags, checked
from ..job_service_base import JobServiceBase
from ..job_targets import JobSettings, run_bucket_problems, shared
from ..spec import LimitsSpec, SecretReference, Spec
from .bucket import Bucket
from .disk import TargetsProvider
from .files import as_content
from .gpu_pool import GpuPool


def _none(value: list[str]) -> list[str]:
    if value:
        raise PydanticCustomError("submitters", "none: on `local` whoever may write the run bucket may submit")
    return value


class _Given(Spec):
    secrets: Mapping[str, SecretReference] = Field(description="references by logical name, file:/absolute/path")
    submitters: Annotated[list[str], AfterValidator(_none)]
    limits: LimitsSpec


class JobService(JobServiceBase):
    """Turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket."""

    cloud = "local"
    targets: pulumi.Output[dict[str, Any]]
    """{pool: JobTarget v1}, plain data."""

    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[GpuPool],
        writes: Sequence[Bucket],
        reads: Sequence[Bucket] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[str] = (),
        limits: LimitsSpec | Mapping[str, Any] | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`writes` holds exactly one bucket, the run bucket: journal, code, checkpoints, results."""
        given = checked(
            _Given,
            {"secrets": dict(secrets or {}), "submitters": list(submitters), "limits": limits or {}},
            f"JobService {name}",
            self.cloud,
            run_bucket_problems([bucket.logical_name for bucket in writes]),
        )
        super().__init__("JobService", name, {"secrets": given.secrets, "limits": given.limits.model_dump()}, tags, opts)
        all_share = JobSettings(f"{pulumi.get_project()}/{pulumi.get_stack()}", given.limits, given.secrets, image=None)
        self.targets = pulumi.Output.all(
            run_bucket=writes[0].url,
            buckets={bucket.logical_name: bucket.url for bucket in (*reads, *writes)},
            pools={pool.logical_name: pool.path for pool in pools},
        ).apply(
            lambda known: {
                pool.logical_name: _target(pool, known["pools"][pool.logical_name], all_share, known["run_bucket"], known["buckets"])
                for pool in pools
            }
        )
        path = writes[0].path.apply(lambda bucket: f"{bucket}/gpuyard/targets.json")
        file = _File(self.child_name("targets"), path, self.targets, self.child_options())
        self.id = file.id
        self.register_outputs({"targets": self.targets})


class _File(dynamic.Resource, module="gpuyard-local", name="Targets"):
    def __init__(
        self,
        name: str,
        path: pulumi.Output[str],
        targets: pulumi.Output[dict[str, Any]],
        opts: pulumi.ResourceOptions,
    ) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True))
        super().__init__(TargetsProvider(), name, {"path": path, "content": targets.apply(as_content)}, opts)


def _target(pool: GpuPool, pool_dir: str, given: JobSettings, run_bucket: str, buckets: Mapping[str, str]) -> dict[str, Any]:
    """JobTarget v1 of kind local."""
    return {
        **shared("local", pool.logical_name, given, run_bucket, buckets),
        "pool_dir": pool_dir,
        "machine": pool.machine,
        "accelerator": pool.accelerator,
        "gpus_per_node": pool.gpus_per_node,
        "slots_per_node": pool.slots_per_node,
        "nics_per_node": 0,
        "min_nodes": 0,
        "max_nodes": len(pool.nodes),
        "fabric": None,
        "price": {"usd_per_node_hour": 0.0, "source": "this machine: not billed"},
    }
