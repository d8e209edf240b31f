"""The job service of a local yard: one job target for each pool. `gpuyard` runs the jobs, without a daemon."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pulumi
from pulumi import dynamic

from ...plain_data import PlainDict, PlainMapping
from ...problems import Problem, show
from ..base import Tags, keywords_only
from ..job_service_base import JobInputs, JobRules, JobServiceBase, bucket_urls, make_targets
from ..job_targets import TARGETS, TargetData, common_fields, run_bucket_problems
from ..spec import LimitsSpec
from .bucket import Bucket
from .disk import TargetsProvider
from .files import as_content
from .gpu_pool import GpuPool

__all__ = ["JobService"]


def _no_submitters(subjects: Sequence[str]) -> list[Problem]:
    fix = "remove submitters: everybody who can write the run bucket can submit"
    return [Problem("submitters", "wrong value", show(list(subjects)), "none", fix)] if subjects else []


def _any_name(name: str) -> list[Problem]:
    return []


def _one_run_bucket(inputs: JobInputs) -> list[Problem]:
    return run_bucket_problems([bucket.logical_name for bucket in inputs.writes])


_RULES = JobRules(
    re.compile(r"file:/.*"), "a reference to the secret, never its value: file:/absolute/path", _no_submitters, _any_name, _one_run_bucket
)


class JobService(JobServiceBase):
    """A service that turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket."""

    cloud = "local"

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[GpuPool],
        writes: Sequence[Bucket],
        reads: Sequence[Bucket] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[str] = (),
        limits: LimitsSpec | PlainMapping | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the job service. `writes`: exactly one bucket, the run bucket, with journal, code, checkpoints and results."""
        self._declare(name, JobInputs(pools, writes, reads, submitters, secrets, limits), _RULES, (), tags, opts)
        directories = {pool.logical_name: pool.path for pool in pools}
        self.targets = make_targets(pools, pulumi.Output.all(pools=directories, **bucket_urls(writes[0], reads)), self._target)
        path = writes[0].path.apply(lambda bucket: f"{bucket}/{TARGETS}")
        file = _File(self.child_name("targets"), path, self.targets, self.child_options())
        self.id = file.id
        self.register_outputs({"targets": self.targets})

    def _props(self, settings: PlainDict, inputs: JobInputs) -> PlainDict:
        return {"secrets": settings["secrets"], "limits": settings["limits"]}

    def _target(self, pool: GpuPool, found: PlainMapping) -> TargetData:
        return {
            **common_fields("local", pool.logical_name, self._settings, found["run"], found["urls"]),
            "pool_dir": found["pools"][pool.logical_name],
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


class _File(dynamic.Resource, module="gpuyard-local", name="Targets"):
    def __init__(
        self,
        name: str,
        path: pulumi.Output[str],
        targets: pulumi.Output[PlainDict],
        opts: pulumi.ResourceOptions,
    ) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True))
        super().__init__(TargetsProvider(), name, {"path": path, "content": targets.apply(as_content)}, opts)
