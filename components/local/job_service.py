"""The job service of a local yard: one job target for each pool. `gpuyard` runs the jobs, without a daemon."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pulumi
from pulumi import dynamic

from ...plain_data import PlainDict, PlainMapping
from ...problems import Problem, show
from ...run_bucket import TARGETS
from ..base import Problems
from ..job_service_base import JobInputs, JobServiceBase, bucket_urls, make_targets
from ..job_targets import TargetData, common_fields, run_bucket_problems
from .bucket import Bucket
from .disk import TargetsProvider
from .files import as_content
from .gpu_pool import GpuPool

__all__ = ["JobService"]


class JobService(JobServiceBase[GpuPool, Bucket]):
    """A service that turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket."""

    cloud = "local"
    _reference = re.compile(r"file:/.*")
    _reference_form = "file:/absolute/path of a file with the secret, never the secret's value"
    _output_names = ("targets",)

    def _name_problems(self, name: str) -> Problems:
        return ()  # every name is a valid file

    @staticmethod
    def _subject_problems(subjects: Sequence[str]) -> Problems:
        fix = "remove submitters: everybody who can write the run bucket can submit"
        return [Problem("submitters", "wrong value", show(list(subjects)), "none", fix)] if subjects else []

    def _combined_problems(self, inputs: JobInputs[GpuPool, Bucket]) -> Problems:
        return run_bucket_problems([bucket.logical_name for bucket in inputs.writes])

    def _props(self, settings: PlainDict, inputs: JobInputs[GpuPool, Bucket]) -> PlainDict:
        return {"secrets": settings["secrets"], "limits": settings["limits"]}

    def _make(self, given: JobInputs[GpuPool, Bucket]) -> None:
        """Write the targets to the run bucket."""
        directories = {pool.logical_name: pool.path for pool in given.pools}
        known = pulumi.Output.all(pools=directories, **bucket_urls(given.run, given.reads))
        self.targets = make_targets(given.pools, known, self._target)
        path = given.run.path.apply(lambda bucket: f"{bucket}/{TARGETS}")
        file = _File(self.child_name("targets"), path, self.targets, self.child_options())
        self.id = file.id

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
