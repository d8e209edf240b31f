"""Job targets of Azure ML clusters as plain data: JobTarget v1 of kind azureml, which training_jobs/target.py validates. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..job_targets import JobSettings, common_fields, machine_fields
from ..spec.pool import GpuPoolSpec

__all__ = ["TargetContext", "azureml_target", "publish_command", "short_location"]


@dataclass(frozen=True)
class TargetContext:
    """Values that all targets of a yard share."""

    subscription_id: str
    resource_group: str
    workspace: str
    location: str
    settings: JobSettings
    run_bucket: str
    buckets: Mapping[str, str]
    key_uri: str | None


def azureml_target(
    name: str, spec: GpuPoolSpec, expires: str | None, context: TargetContext, *, compute: str, identity_client_id: str
) -> dict[str, object]:
    """Return the job target of a pool that is a cluster of the workspace."""
    return {
        **common_fields("azureml", name, context.settings, context.run_bucket, context.buckets),
        **machine_fields(spec, spec.row("azure"), context.settings.stack, context.location, expires),
        "encryption_key": context.key_uri,
        "subscription_id": context.subscription_id,
        "resource_group": context.resource_group,
        "workspace": context.workspace,
        "compute": compute,
        "identity_client_id": identity_client_id,
    }


def short_location(location: str) -> str:
    """Return a location's short name, as the catalogue uses it.

    >>> short_location("East US 2")
    'eastus2'
    """
    return location.replace(" ", "").lower()


def publish_command(stack: str, run_bucket: str) -> str:
    """Return the shell command that writes the targets to the run bucket. It needs a login to Azure (`az login`).

    >>> publish_command("dev", "abfs://runs@acme.dfs.core.windows.net").split()[:6]
    ['pulumi', 'stack', 'output', 'job_targets', '--json', '--stack']
    """
    container, _, host = run_bucket.removeprefix("abfs://").partition("@")
    return (
        f"pulumi stack output job_targets --json --stack {stack} > targets.json && az storage blob upload --auth-mode login --overwrite "
        f"--account-name {host.partition('.')[0]} --container-name {container} --name gpuyard/targets.json --file targets.json"
    )
