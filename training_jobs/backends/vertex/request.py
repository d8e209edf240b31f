"""Build the CustomJob of a submission, in the REST API's JSON. Pure functions.

Retries by Vertex AI itself are off: launch restarts workers, and gpuyard starts new attempts. A container's command is an argv, never a
shell command.
"""

from __future__ import annotations

import re

from ....problems import Problem
from ...clouds import Json
from ...errors import UsageError
from ...run import Run
from ...target import VertexTarget
from ..base import container_image, prefixed_job_name, read_bootstrap, run_variables
from ..labels import gcp_labels

__all__ = ["job_name", "label_filter", "request_body"]

_LONGEST_NAME = 128  # characters of a display name
_LONGEST_FLEX_HOURS = 7 * 24  # run time of a flex-start job
_GRACE_S = 25
"""Seconds for workers to save and exit. A spot machine ends 30 s after its preemption notice."""
_REGISTRY = re.compile(r"^([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io|docker\.io)/")  # ContainerSpec.image_uri
_STRATEGIES = {"standard": "STANDARD", "spot": "SPOT", "flex_start": "FLEX_START"}


def job_name(run: Run, target: VertexTarget) -> str:
    """Return the job's display name."""
    return prefixed_job_name(run, target.job_prefix, _LONGEST_NAME)


def request_body(run: Run, target: VertexTarget) -> Json:
    """Return the CustomJob. Raises UsageError that lists why Vertex AI cannot run the job."""
    image = container_image(run)
    _check(run, target, image)
    spec: Json = {
        "workerPoolSpecs": _pools(run, target, image),
        "scheduling": _scheduling(run, target),
        "serviceAccount": target.service_account,
        "baseOutputDirectory": {"outputUriPrefix": f"{run.url}/vertex"},
    }
    if target.persistent_resource is not None:
        spec["persistentResourceId"] = target.persistent_resource
    if target.web_access:
        spec["enableWebAccess"] = True
    if target.network_attachment is not None:
        spec["pscInterfaceConfig"] = {"networkAttachment": target.network_attachment}
    body = {"displayName": job_name(run, target), "labels": gcp_labels(run), "jobSpec": spec}
    return body if target.encryption_key is None else {**body, "encryptionSpec": {"kmsKeyName": target.encryption_key}}


def label_filter(run: Run) -> str:
    """Return the filter that finds a submission by its labels."""
    labels = gcp_labels(run)
    return " AND ".join(f'labels.{key}="{labels[key]}"' for key in ("gpuyard_run", "gpuyard_submission"))


def _check(run: Run, target: VertexTarget, image: str) -> None:
    problems = []
    registry = image.split("/", 1)[0]
    if "/" in image and re.search(r"[.:]", registry) and not _REGISTRY.match(image):
        problem, fix = "Vertex AI pulls only from Artifact Registry and Docker Hub", "push the image to a repository of the project"
        problems.append(Problem("image", problem, image, "<region>-docker.pkg.dev/...", fix))
    flex, machines = target.strategy == "flex_start", target.reservation or target.persistent_resource
    hours = target.max_hours or _LONGEST_FLEX_HOURS
    if flex and run.limit_s > hours * 3600:
        fix = "lower timeout, or raise max_hours of the pool's capacity and run `pulumi up`"
        got = f"{run.limit_s / 3600:g}h"
        problems.append(Problem("timeout", "longer than flex start keeps the pool's machines", got, f"<= {hours}h", fix))
    if target.strategy != "standard" and machines:
        problem = f"strategy {target.strategy} cannot use reserved or persistent machines"
        problems.append(Problem("pool", problem, machines, fix="run `pulumi up`"))
    if target.reservation and target.persistent_resource:
        problems.append(Problem("pool", "a persistent resource cannot use a reservation", target.reservation, fix="run `pulumi up`"))
    if problems:
        raise UsageError(f"job '{run.spec.name}' cannot run on Vertex AI", problems)


def _pools(run: Run, target: VertexTarget, image: str) -> list[Json]:
    """Return the worker pools. The first pool has only node 0, the second pool has all other nodes."""
    machine: Json = {"machineType": target.machine}
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
    # The API's JSON writes 64-bit integers as strings.
    return [{"machineSpec": machine, "replicaCount": str(size), "containerSpec": container, "diskSpec": disk} for size in sizes]


def _scheduling(run: Run, target: VertexTarget) -> Json:
    """Return the field `scheduling`. Vertex AI limits the wait of flex-start jobs only (0 = no limit); gpuyard limits other waits."""
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
        # Without this variable every process reads the bucket's layout, and retries for minutes if it has no permission.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "GPUYARD_SERVICE": "vertex",
        **run_variables(run),
        "GPUYARD_GRACE_S": str(_GRACE_S),
        "GPUYARD_LIMIT_REASON": run.limit_reason,
    }
