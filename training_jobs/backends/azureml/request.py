"""The exact calls of a submission: the environment that is the image, and the job. Pure.

Azure ML hands a job's command to a shell, so it is the same text for every job and of characters that no shell reads anything
into; all that differs from job to job is in variables and in the run's record.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from ....problems import Problem
from ...errors import UsageError
from ...run import Run
from ...target import AzureMlTarget
from ..base import container_image, prefixed_job_name, read_bootstrap, run_variables

API_VERSION = "2024-04-01"  # learn.microsoft.com/rest/api/azureml: the newest that all clouds' regions have
ARM = "https://management.azure.com"
_NAME = 255  # characters of a job's name
_ANONYMOUS = "CliV2AnonymousEnvironment"  # where Azure's own clients keep the environments that nobody named
_LOADER = 'python3 -c "import base64,sys;exec(base64.b64decode(sys.argv[1]))"'
_GRACE_S = 25
_TAG, _TAG_VALUE, _TAGS = 100, 256, 40
_OURS = ("stack", "pool", "run", "limit")


def workspace_of(target: AzureMlTarget) -> str:
    """The workspace's id."""
    group = f"/subscriptions/{target.subscription_id}/resourceGroups/{target.resource_group}"
    return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{target.workspace}"


def arm_url(resource: str) -> str:
    """Where a resource is asked for."""
    return f"{ARM}{resource}?api-version={API_VERSION}"


def name_of(run: Run, target: AzureMlTarget) -> str:
    """The job's name: the stack's prefix, the run and the submission; a long job name is cut, its digest is not."""
    return prefixed_job_name(run, target.job_prefix, _NAME)


def environment_of(image: str, target: AzureMlTarget) -> tuple[str, dict[str, Any]]:
    """The id and the body of the environment that is an image, the same for the same image: whoever writes it writes the same."""
    version = hashlib.sha256(image.encode()).hexdigest()
    body = {"properties": {"image": image, "isAnonymous": True, "osType": "Linux"}}
    return f"{workspace_of(target)}/environments/{_ANONYMOUS}/versions/{version}", body


def body_of(run: Run, target: AzureMlTarget) -> dict[str, Any]:
    """The job. Raises UsageError for what Azure ML cannot do, every problem at once."""
    image = container_image(run)
    tags = _tags(run)
    environment, _ = environment_of(image, target)
    return {
        "properties": {
            "jobType": "Command",
            "displayName": run.id,
            "experimentName": run.spec.name,
            "command": command(),
            "environmentId": environment,
            "computeId": f"{workspace_of(target)}/computes/{target.compute}",
            "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 1},
            "resources": {"instanceCount": run.spec.nodes, "shmSize": f"{8 * max(target.gpus_per_node, 1)}g"},
            "limits": {"jobLimitsType": "Command", "timeout": duration(run.limit_s)},
            "identity": {"identityType": "Managed", "clientId": target.identity_client_id},
            "environmentVariables": _variables(run, target),
            "tags": tags,
        }
    }


def command() -> str:
    """What a shell on each node is given: the same for every job of this version."""
    return f"{_LOADER} {base64.b64encode(read_bootstrap().encode()).decode()}"


def duration(seconds: int) -> str:
    """Seconds as Azure writes a duration (ISO 8601), in the units that its own client uses."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    time = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M"), (left, "S")) if count)
    return f"P{f'{days}D' if days else ''}{f'T{time}' if time else ''}" if seconds else "PT0S"


def seconds_of(text: str) -> int:
    """The other way round; 0 for what is no such duration."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text)
    return sum(int(count or 0) * unit for count, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True)) if found else 0


def _variables(run: Run, target: AzureMlTarget) -> dict[str, str]:
    return {
        "AZURE_CLIENT_ID": target.identity_client_id,
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "GPUYARD_SERVICE": "azureml",
        **run_variables(run),
        "GPUYARD_FIRST_ATTEMPT": str(run.attempt),
        "GPUYARD_GRACE_S": str(_GRACE_S),
        "GPUYARD_LIMIT_REASON": run.limit_reason,
        "GPUYARD_STAMP": "1",
    }


def _tags(run: Run) -> dict[str, str]:
    own = {"stack": run.target.stack, "pool": run.target.pool, "run": run.id, "limit": run.limit_reason}
    problems = []
    for key, value in run.spec.labels.items():
        if key in _OURS:
            problems.append(Problem(f"labels.{key}", "is set by gpuyard", fix="rename it"))
        elif not 1 <= len(key) <= _TAG or len(value) > _TAG_VALUE:
            problems.append(
                Problem(f"labels.{key}", "cannot be a tag", f"{key}={value}", f"{_TAG} characters for the key, {_TAG_VALUE} for the value")
            )
    if len(run.spec.labels) > _TAGS:
        problems.append(Problem("labels", "too many", str(len(run.spec.labels)), f"<= {_TAGS}"))
    if problems:
        raise UsageError(f"job '{run.spec.name}' has labels that cannot be tags on Azure ML", problems)
    return {**run.spec.labels, **own}
