"""The exact CustomJob of a submission, as the REST API words it. Pure.

What is retried is ours to say: launch restarts workers, the runner starts attempts, Vertex neither. A container is given its command
as an argv; no shell reads it.
"""

from __future__ import annotations

import re
from typing import Any

from ....problems import Problem
from ...clouds.gcp import labels_of
from ...errors import UsageError
from ...run import Run
from ...target import VertexTarget
from ..base import container_image, prefixed_job_name, read_bootstrap, run_variables

_NAME = 128  # characters of a display name
_LONGEST_FLEX_S = 7 * 86400  # that a job may run which waits for machines of the Dynamic Workload Scheduler
_GRACE_S = 25
"""Of the 30 s between the notice that a spot machine is taken and its end."""
_REGISTRY = re.compile(r"^([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io|docker\.io)/")  # ContainerSpec.image_uri
_STRATEGIES = {"standard": "STANDARD", "spot": "SPOT", "flex_start": "FLEX_START"}


def name_of(run: Run, target: VertexTarget) -> str:
    """What people see it called: the stack's prefix, the run and the submission; a long job name is cut, its digest is not."""
    return prefixed_job_name(run, target.job_prefix, _NAME)


def body_of(run: Run, target: VertexTarget) -> dict[str, Any]:
    """The CustomJob. Raises UsageError for what Vertex cannot do, every problem at once."""
    image = container_image(run)
    _check(run, target, image)
    spec: dict[str, Any] = {
        "workerPoolSpecs": _pools(run, target, image),
        "scheduling": _scheduling(run, target),
        "serviceAccount": target.service_account,
        "baseOutputDirectory": {"outputUriPrefix": f"{run.url}/vertex"},
        **_if("persistentResourceId", target.persistent_resource),
    }
    if target.network_attachment is not None:
        spec["pscInterfaceConfig"] = {"networkAttachment": target.network_attachment}
    body = {"displayName": name_of(run, target), "labels": labels_of(run), "jobSpec": spec}
    if target.encryption_key is None or target.persistent_resource is not None:  # held machines keep the key they were made with
        return body
    return {**body, "encryptionSpec": {"kmsKeyName": target.encryption_key}}


def filter_of(run: Run) -> str:
    """How the submission is found again."""
    labels = labels_of(run)
    return " AND ".join(f'labels.{key}="{labels[key]}"' for key in ("gpuyard_run", "gpuyard_submission"))


def _check(run: Run, target: VertexTarget, image: str) -> None:
    found = []
    registry = image.split("/", 1)[0]
    if "/" in image and re.search(r"[.:]", registry) and not _REGISTRY.match(image):
        fix = "push it to a repository of the project and name that"
        found.append(
            Problem("image", "Vertex pulls from Artifact Registry and Docker Hub alone", image, "<region>-docker.pkg.dev/...", fix)
        )
    flex, bound = target.strategy == "flex_start", target.reservation or target.persistent_resource
    if flex and run.limit_s > _LONGEST_FLEX_S:
        found.append(Problem("timeout", "a flex-start job runs no longer", f"{run.limit_s / 86400:.1f}d", "<= 7d"))
    if target.strategy != "standard" and bound:
        found.append(Problem("pool", f"Vertex takes no {target.strategy} machines where others are held", bound, fix="run `pulumi up`"))
    if target.reservation and target.persistent_resource:
        found.append(Problem("pool", "a persistent resource takes no reservation", target.reservation, fix="run `pulumi up`"))
    if found:
        raise UsageError(f"job '{run.spec.name}' cannot run on Vertex AI", found)


def _pools(run: Run, target: VertexTarget, image: str) -> list[dict[str, Any]]:
    """The first pool has one replica, the primary one; the others are the second pool."""
    machine: dict[str, Any] = {"machineType": target.machine}
    if target.gpus_per_node:
        machine |= {"acceleratorType": target.accelerator_type, "acceleratorCount": target.gpus_per_node}
    if target.reservation is not None:
        affinity = {"key": "compute.googleapis.com/reservation-name", "values": [target.reservation]}
        machine["reservationAffinity"] = {"reservationAffinityType": "SPECIFIC_RESERVATION", **affinity}
    container = {
        "imageUri": image,
        "command": ["python3", "-c", read_bootstrap()],
        "env": [{"name": name, "value": value} for name, value in sorted(_environment(run, target).items())],
    }
    disk = {"bootDiskType": target.boot_disk_type, "bootDiskSizeGb": target.boot_disk_gib}
    sizes = [1] if run.spec.nodes == 1 else [1, run.spec.nodes - 1]
    # The API's JSON writes 64-bit integers as text.
    return [{"machineSpec": machine, "replicaCount": str(size), "containerSpec": container, "diskSpec": disk} for size in sizes]


def _scheduling(run: Run, target: VertexTarget) -> dict[str, Any]:
    """Machines that are waited for at Google's may be waited for as long as the job says, else for ever: 0. Elsewhere the runner waits."""
    found = {
        "strategy": _STRATEGIES[target.strategy],
        "timeout": f"{run.limit_s}s",
        "restartJobOnWorkerRestart": False,
        "disableRetries": True,
    }
    return found | {"maxWaitDuration": f"{run.spec.queue_timeout or 0}s"} if target.strategy == "flex_start" else found


def _environment(run: Run, target: VertexTarget) -> dict[str, str]:
    return {
        "GOOGLE_CLOUD_PROJECT": target.project,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # else every process asks for the bucket's layout, for minutes where it may not
        "GPUYARD_SERVICE": "vertex",
        **run_variables(run),
        "GPUYARD_GRACE_S": str(_GRACE_S),
        "GPUYARD_LIMIT_REASON": run.limit_reason,
    }


def _if(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}
