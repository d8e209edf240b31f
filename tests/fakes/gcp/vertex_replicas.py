"""The replicas of one fake custom job: processes on addresses of their own, with the variables that Vertex AI sets."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from tests.fakes.containers import Containers, addresses

if TYPE_CHECKING:
    from tests.fakes.gcp.vertex import FakeVertex
    from tests.fakes.gcp.vertex_job import Job


class Replicas(Containers):
    """One container per replica, started together.

    The names in CLUSTER_SPEC belong to Kubernetes services, whose addresses are in CMLE_TRAINING_WORKERPOOL0_..._SERVICE_HOST. They forward
    only ports 2222, 3333 and 6000. So no replica can bind its own name or learn a free port. Sources: a public start script that lists the
    variables, and github.com/Snapchat/GiGL, which shares node 0's address through Cloud Storage (2026-12).
    """

    def __init__(self, fake: FakeVertex, job: Job, number: int) -> None:
        super().__init__()
        self._tasks: list[str] = []
        hosts = addresses(job.nodes, number)
        left = iter(hosts)
        cluster = {
            f"workerpool{index}": [f"cmle-training-workerpool{index}-{job.id}-{replica}:2222" for replica in range(pool.replica_count)]
            for index, pool in enumerate(job.message.job_spec.worker_pool_specs)
        }
        for index, pool in enumerate(job.message.job_spec.worker_pool_specs):
            for replica in range(pool.replica_count):
                task = {"type": f"workerpool{index}", "index": replica, "trial": ""}
                spec = {"cluster": cluster, "environment": "cloud", "task": task, "job": "{}"}
                env = {"CLUSTER_SPEC": json.dumps(spec), "GPUYARD_NODE_ADDRESS": next(left), "CLOUD_ML_JOB_ID": job.id, **_output(job)}
                self._add(fake, job, pool, f"workerpool{index}-{replica}", env)

    @property
    def ended(self) -> bool:
        """Whether the job has ended: the primary replica exited with 0, or any replica failed."""
        codes = self.codes
        return codes[0] == 0 or any(codes) or all(code is not None for code in codes)

    @property
    def failed(self) -> tuple[str, int] | None:
        """The replica that failed and its exit code."""
        codes = self.codes
        if codes[0] == 0:
            return None
        return next(((task, code) for task, code in zip(self._tasks, codes, strict=True) if code), None)

    def _add(self, fake: FakeVertex, job: Job, pool: Any, task: str, env: dict[str, str]) -> None:
        container = pool.container_spec
        job_variables = {variable.name: variable.value for variable in container.env}
        write_line = functools.partial(fake.logs.write, job.id, task)
        self._tasks.append(task)
        self.start(
            [*container.command, *container.args], {**fake.environment, **job_variables, **env}, fake.folder / job.id / task, write_line
        )


def _output(job: Job) -> dict[str, str]:
    prefix = job.message.job_spec.base_output_directory.output_uri_prefix
    return {f"AIP_{name}": f"{prefix}/{folder}/" for name, folder in
            (("MODEL_DIR", "model"), ("CHECKPOINT_DIR", "checkpoints"), ("TENSORBOARD_LOG_DIR", "logs"))} if prefix else {}  # fmt: skip
