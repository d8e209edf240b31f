"""IAM roles of a yard's identities: roles on single resources, and roles on the whole project with the reason for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = [
    "ACT_AS",
    "FEDERATED",
    "IMPERSONATE",
    "PROJECT_ROLES",
    "READ_LOG_VIEW",
    "READ_OBJECTS",
    "READ_SECRET",
    "WRITE_OBJECTS",
    "ProjectRole",
    "custom_role_id",
    "folder_condition",
]

READ_OBJECTS = "roles/storage.objectViewer"
WRITE_OBJECTS = "roles/storage.objectUser"
READ_LOG_VIEW = "roles/logging.viewAccessor"
READ_SECRET = "roles/secretmanager.secretAccessor"  # noqa: S105 the name of a role
ACT_AS = "roles/iam.serviceAccountUser"
FEDERATED = "roles/iam.workloadIdentityUser"
IMPERSONATE = "roles/iam.serviceAccountTokenCreator"  # cloud.google.com/docs/authentication/use-service-account-impersonation


@dataclass(frozen=True)
class ProjectRole:
    """A role on the whole project, because Google offers no narrower resource for it."""

    why: str
    role: str = ""
    """A predefined role. Empty: a custom role with exactly `permissions`."""
    permissions: tuple[str, ...] = ()


PROJECT_ROLES: Mapping[str, ProjectRole] = MappingProxyType(
    {
        "write-logs": ProjectRole(
            "machines send the output of containers to Cloud Logging; logs are written to a project", "roles/logging.logWriter"
        ),
        "write-metrics": ProjectRole(
            "machines report their utilisation; metrics are written to a project", "roles/monitoring.metricWriter"
        ),
        "pull-images": ProjectRole(
            "machines pull images from any repository of the project, because a launcher's images are not known in advance",
            "roles/artifactregistry.reader",
        ),
        "resize-pools": ProjectRole(
            "the schedule sets the pool to zero nodes at its expiry; instance groups have no IAM policy of their own",
            permissions=("compute.instanceGroupManagers.get", "compute.instanceGroupManagers.update"),
        ),
        "limit-replacements": ProjectRole(
            "a schedule starts the workflow that counts broken machines and turns an instance group's repairs off; instance groups, "
            "operations and workflows have no IAM policies of their own",
            permissions=(
                "compute.instanceGroupManagers.get",
                "compute.instanceGroupManagers.update",
                "compute.zoneOperations.list",
                "workflows.executions.create",
            ),
        ),
        "delete-held": ProjectRole(
            "the schedule deletes the pool's persistent resource at its expiry; persistent resources have no IAM policy of their own",
            permissions=("aiplatform.persistentResources.delete",),
        ),
        "attach-network": ProjectRole(
            "Vertex AI connects its machines to the yard's network; network attachments have no IAM policy of their own",
            permissions=("compute.networkAttachments.get", "compute.networkAttachments.update", "compute.regionOperations.get"),
        ),
        "submit-jobs": ProjectRole(
            "a submitter creates, lists, watches and cancels custom jobs; IAM cannot limit a role to some custom "
            "jobs, so only the project's quotas limit machine types and numbers",
            permissions=(
                "aiplatform.customJobs.cancel",
                "aiplatform.customJobs.create",
                "aiplatform.customJobs.get",
                "aiplatform.customJobs.list",
                "aiplatform.persistentResources.get",
            ),
        ),
    }
)


def folder_condition(bucket: str, *folders: str) -> str:
    """Return an IAM condition in CEL that is true only for objects below these folders of a bucket.

    >>> folder_condition("runs-1a2b", "gpuyard/runs/")
    'resource.name.startsWith("projects/_/buckets/runs-1a2b/objects/gpuyard/runs/")'
    """
    return " || ".join(f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{folder}")' for folder in folders)


def custom_role_id(name: str, digest: str) -> str:
    """Return the id of a custom role: letters, digits, _ and ., at most 64 characters.

    >>> custom_role_id("submit-jobs", "d6d45572")
    'gpuyard_submit_jobs_d6d45572'
    """
    return f"gpuyard_{name.replace('-', '_')}_{digest}"
