"""Build the requests of a submission: an environment with the image, and the command job. Pure functions.

Azure ML passes a job's command to a shell. So the command is the same for every job and has no character that a shell interprets. Values
that differ between jobs are in environment variables and in the run record.
"""

from __future__ import annotations

import base64
import hashlib
import re

from ...clouds import Json
from ...clouds.azure import ARM
from ...run import Run
from ...target import AzureMlTarget
from ..base import container_image, prefixed_job_name, read_bootstrap, run_variables
from ..labels import azure_tags

__all__ = [
    "API_VERSION",
    "arm_url",
    "environment_of",
    "iso_duration",
    "job_name",
    "parse_duration",
    "request_body",
    "shell_command",
    "workspace_id",
]

API_VERSION = "2024-04-01"  # learn.microsoft.com/rest/api/azureml: the newest version that the regions of all Azure clouds have
_LONGEST_NAME = 255
_ANONYMOUS = "CliV2AnonymousEnvironment"  # Azure's own clients store environments without a name under this one
_LOADER = 'python3 -c "import base64,sys;exec(base64.b64decode(sys.argv[1]))"'
_TOPOLOGY = {
    "Standard_ND96asr_v4": "ndv4",
    "Standard_ND96amsr_A100_v4": "ndv4",
    "Standard_ND96isr_H100_v5": "ndv5",
    "Standard_ND96isr_H200_v5": "ndv5",
}
"""Machine -> its file in github.com/Azure/azhpc-images/tree/master/topology. A virtual machine hides which GPU is near which card."""
_GRACE_S = 25  # for workers to save and exit (not proven: docs/azure.md)


def workspace_id(target: AzureMlTarget) -> str:
    """Return the resource id of the workspace."""
    group = f"/subscriptions/{target.subscription_id}/resourceGroups/{target.resource_group}"
    return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{target.workspace}"


def arm_url(resource: str) -> str:
    """Return the Azure Resource Manager URL of a resource id."""
    return f"{ARM}{resource}?api-version={API_VERSION}"


def job_name(run: Run, target: AzureMlTarget) -> str:
    """Return the job's name. It is deterministic, so that the job can be found after a crash."""
    return prefixed_job_name(run, target.job_prefix, _LONGEST_NAME)


def environment_of(image: str, target: AzureMlTarget) -> tuple[str, Json]:
    """Return the resource id and the body of an image's environment. They depend only on the image, so a repeated PUT is safe."""
    version = hashlib.sha256(image.encode()).hexdigest()
    body = {"properties": {"image": image, "isAnonymous": True, "osType": "Linux"}}
    return f"{workspace_id(target)}/environments/{_ANONYMOUS}/versions/{version}", body


def request_body(run: Run, target: AzureMlTarget) -> Json:
    """Return the body of the job. Raises UsageError for a job that Azure ML cannot run."""
    image = container_image(run)
    tags = azure_tags(run)
    environment, _ = environment_of(image, target)
    return {
        "properties": {
            "jobType": "Command",
            "displayName": run.id,
            "experimentName": run.spec.name,
            "command": shell_command(),
            "environmentId": environment,
            "computeId": f"{workspace_id(target)}/computes/{target.compute}",
            "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 1},
            "resources": {"instanceCount": run.spec.nodes, "shmSize": f"{8 * max(target.gpus_per_node, 1)}g"},
            "limits": {"jobLimitsType": "Command", "timeout": iso_duration(run.limit_s)},
            "identity": {"identityType": "Managed", "clientId": target.identity_client_id},
            "environmentVariables": _environment(run, target),
            "tags": tags,
        }
    }


def shell_command() -> str:
    """Return the command for the shell on each node. It is the same for every job of this gpuyard version."""
    return f"{_LOADER} {base64.b64encode(read_bootstrap().encode()).decode()}"


def iso_duration(seconds: int) -> str:
    """Convert seconds to an ISO 8601 duration with the units of Azure's own client."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    time = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if count)
    return f"P{f'{days}D' if days else ''}{f'T{time}' if time else ''}" if seconds else "PT0S"


def parse_duration(text: str) -> int:
    """Convert an ISO 8601 duration to seconds; 0 for any other text."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text)
    return sum(int(count or 0) * unit for count, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True)) if found else 0


def _environment(run: Run, target: AzureMlTarget) -> dict[str, str]:
    return {
        "AZURE_CLIENT_ID": target.identity_client_id,
        "AZURE_STORAGE_ANON": "false",  # adlfs before 2026.4 would read storage anonymously
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",  # azure-identity 1.24 or newer; 1.23 refuses this value
        **_fabric_variables(target.machine),
        "GPUYARD_SERVICE": "azureml",
        **run_variables(run),
        "GPUYARD_FIRST_ATTEMPT": str(run.attempt),
        "GPUYARD_GRACE_S": str(_GRACE_S),
        "GPUYARD_LIMIT_REASON": run.limit_reason,
        "GPUYARD_STAMP": "1",
    }


def _fabric_variables(machine: str) -> dict[str, str]:
    """Return NCCL's settings for a size with InfiniBand; a job's own `env` has priority. NCCL ignores a file that the image lacks.

    Source: github.com/Azure/ai-infrastructure-on-azure@a01b073, examples/llm-foundry/aks/helm/llm-training/values.yaml.
    """
    if machine not in _TOPOLOGY:
        return {}
    return {"NCCL_IB_PCI_RELAXED_ORDERING": "1", "NCCL_TOPO_FILE": f"/opt/microsoft/{_TOPOLOGY[machine]}-topo.xml"}
