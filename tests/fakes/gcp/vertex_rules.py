"""Rules for a CustomJob that Vertex AI's documentation states. The official messages check the types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_LABEL_KEY, _LABEL_VALUE = re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")
_IMAGE = re.compile(r"([a-z0-9-]+-docker\.pkg\.dev/|([a-z]+\.)?gcr\.io/|docker\.io/)?[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})?")
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.iam\.gserviceaccount\.com")
_RESERVATION = re.compile(r"projects/[^/]+/zones/[^/]+/reservations/[^/]+")
_ATTACHMENT = re.compile(r"projects/[^/]+/regions/[^/]+/networkAttachments/[^/]+")
_BY_NAME = "compute.googleapis.com/reservation-name"


def broken_rules(job: Any) -> list[str]:
    """Return every rule that a job breaks."""
    spec = job.job_spec
    return [*_job(job), *_pools(spec), *_scheduling(spec), *_network(spec)]


def _job(job: Any) -> Iterator[str]:
    if not 1 <= len(job.display_name) <= 128:
        yield "display_name must have 1 to 128 characters"
    if job.name or job.state or job.create_time:
        yield "an output-only field is set"
    if len(job.labels) > 64 or not all(_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value) for key, value in job.labels.items()):
        yield "labels: lower-case letters, digits, underscores and dashes, 64 at most"
    if job.job_spec.service_account and not _ACCOUNT.fullmatch(job.job_spec.service_account):
        yield "service_account is no service account"
    prefix = job.job_spec.base_output_directory.output_uri_prefix
    if prefix and not prefix.startswith("gs://"):
        yield "base_output_directory.output_uri_prefix must be on Cloud Storage"


def _pools(spec: Any) -> Iterator[str]:
    pools = list(spec.worker_pool_specs)
    if not pools:
        yield "worker_pool_specs is empty"
        return
    if pools[0].replica_count != 1:
        yield "worker_pool_specs[0].replica_count must be 1: the primary replica"
    for number, pool in enumerate(pools):
        machine, container = pool.machine_spec, pool.container_spec
        if not machine.machine_type or pool.replica_count < 1:
            yield f"worker_pool_specs[{number}]: machine_type and replica_count are required"
        if bool(machine.accelerator_type) != bool(machine.accelerator_count):
            yield f"worker_pool_specs[{number}]: accelerator_type and accelerator_count go together"
        if not _IMAGE.fullmatch(container.image_uri):
            yield f"worker_pool_specs[{number}]: image_uri must be in Artifact Registry or Docker Hub"
        if any("$(" in word for word in [*container.command, *container.args]):
            yield f"worker_pool_specs[{number}]: a variable would be put into the command"
        if len({variable.name for variable in container.env}) != len(container.env):
            yield f"worker_pool_specs[{number}]: a variable is set twice"
        if pool.disk_spec.boot_disk_size_gb and not 100 <= pool.disk_spec.boot_disk_size_gb <= 64000:
            yield f"worker_pool_specs[{number}]: boot_disk_size_gb: 100 to 64000"


def _scheduling(spec: Any) -> Iterator[str]:
    affinities = [pool.machine_spec.reservation_affinity for pool in spec.worker_pool_specs]
    reserved = [affinity for affinity in affinities if affinity.reservation_affinity_type.name == "SPECIFIC_RESERVATION"]
    strategy = spec.scheduling.strategy.name
    if spec.scheduling.max_wait_duration and strategy != "FLEX_START":
        yield "max_wait_duration is for FLEX_START"
    if strategy in {"ON_DEMAND", "LOW_COST"}:
        yield "the strategy is deprecated"
    if reserved and (strategy in {"FLEX_START", "SPOT"} or spec.persistent_resource_id):
        yield "a reservation cannot be combined with FLEX_START, SPOT or a persistent resource"
    if spec.persistent_resource_id and strategy in {"FLEX_START", "SPOT"}:
        yield "a persistent resource has machines of its own"
    if any(one.key != _BY_NAME or not one.values or not all(map(_RESERVATION.fullmatch, one.values)) for one in reserved):
        yield "a specific reservation is named by its key and its full resource name"


def _network(spec: Any) -> Iterator[str]:
    attachment = spec.psc_interface_config.network_attachment
    if spec.network and attachment:
        yield "network and psc_interface_config exclude each other"
    if attachment and not _ATTACHMENT.fullmatch(attachment):
        yield "network_attachment is no full resource name"
