"""What the yard's identities are granted: roles on single resources, and the few on the project, each with its reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

READ_OBJECTS = "roles/storage.objectViewer"
WRITE_OBJECTS = "roles/storage.objectUser"
READ_SECRET = "roles/secretmanager.secretAccessor"  # noqa: S105 the name of a role
ACT_AS = "roles/iam.serviceAccountUser"
FEDERATED = "roles/iam.workloadIdentityUser"


@dataclass(frozen=True)
class ProjectRole:
    """What must be granted on the whole project, because Google has no narrower place for it."""

    why: str
    role: str = ""
    """One of Google's own. Else a role of the yard's, with exactly these permissions:"""
    permissions: tuple[str, ...] = ()


PROJECT_ROLES: Mapping[str, ProjectRole] = MappingProxyType(
    {
        "write-logs": ProjectRole("machines ship the output of containers; logs are written to a project", "roles/logging.logWriter"),
        "write-metrics": ProjectRole("machines tell how busy they are; metrics are written to a project", "roles/monitoring.metricWriter"),
        "pull-images": ProjectRole(
            "machines pull images of any repository of the project; a launcher's own images are not known here",
            "roles/artifactregistry.reader",
        ),
        "resize-pools": ProjectRole(
            "the schedule takes the pool to zero at its end; instance groups have no policy of their own",
            permissions=("compute.instanceGroupManagers.get", "compute.instanceGroupManagers.update"),
        ),
        "delete-held": ProjectRole(
            "the schedule gives back the machines that Vertex AI holds at the pool's end; persistent resources have no policy of their own",
            permissions=("aiplatform.persistentResources.delete",),
        ),
        "attach-network": ProjectRole(
            "Vertex AI connects its machines to the yard's network; attachments have no policy of their own",
            permissions=("compute.networkAttachments.get", "compute.networkAttachments.update", "compute.regionOperations.get"),
        ),
        "submit-jobs": ProjectRole(
            "a submitter starts, finds, watches and cancels custom jobs and reads their logs; jobs have no policy of their own",
            permissions=(
                "aiplatform.customJobs.cancel",
                "aiplatform.customJobs.create",
                "aiplatform.customJobs.get",
                "aiplatform.customJobs.list",
                "aiplatform.persistentResources.get",
                "logging.logEntries.list",
            ),
        ),
    }
)


def folder_condition(bucket: str, *folders: str) -> str:
    """An IAM condition, in Google's CEL: objects below these folders of a bucket, and no others.

    >>> folder_condition("runs-1a2b", "gpuyard/runs/")
    'resource.name.startsWith("projects/_/buckets/runs-1a2b/objects/gpuyard/runs/")'
    """
    return " || ".join(f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{folder}")' for folder in folders)


def custom_role_id(name: str, digest: str) -> str:
    """The id of a role of the yard's own: letters, digits, _ and ., at most 64.

    >>> custom_role_id("submit-jobs", "d6d45572")
    'gpuyard_submit_jobs_d6d45572'
    """
    return f"gpuyard_{name.replace('-', '_')}_{digest}"
