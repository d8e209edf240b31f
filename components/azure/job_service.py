"""The job service of an Azure yard: an Azure ML workspace with a cluster for each pool, who may do what, and where jobs can go."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pulumi
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ...problems import Problem, show
from ..base import Tags, checked, this_stack
from ..job_service_base import JobServiceBase
from ..job_targets import JobSettings, in_order, service_problems
from ..naming import name_problems
from ..spec import LimitsSpec, Spec
from ..spec.fields import ImageDigest
from .account import AzureComponent, ResourceGroup, account, configured_location, group_problems
from .cluster import close_clusters, make_cluster
from .identity import Identity, assign
from .job_targets import TargetContext, azureml_target, publish_command, short_location
from .private_access import (
    PrivateLinkTarget,
    add_bucket_endpoints,
    add_outbound_rules,
    add_registry_endpoints,
    add_workspace_endpoints,
    bucket_link_targets,
    networks_of,
)
from .registry import make_registry
from .roles import BLOB_READER, BLOB_WRITER, ML_SUBMITTER, REGISTRY_PULL, Grant
from .subjects import exact_subject_problems
from .workspace import ISOLATION, Isolation, MlWorkspace, make_workspace, needs_own_outbound_rules

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool

_SECRET = re.compile(r"https://[a-z0-9-]{3,24}\.vault\.azure\.net/secrets/[A-Za-z0-9-]{1,127}(/[0-9a-f]{32})?")
_REGISTRY = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerRegistry/registries/[^/]+", re.IGNORECASE)
_REGISTRIES = ("none", "premium")
_JOB = ("gpuyard/runs/",)
_SUBMITTER = ("gpuyard/code/", "gpuyard/runs/")


def _secret_uri(value: str) -> str:
    if not _SECRET.fullmatch(value):
        raise PydanticCustomError("secret", "https://VAULT.vault.azure.net/secrets/NAME of a key vault; never its value")
    return value


class _Given(Spec):
    secrets: Mapping[str, Annotated[str, AfterValidator(_secret_uri)]] = Field(description="identifiers of secrets by logical name")
    limits: LimitsSpec
    image: ImageDigest | None


class JobService(JobServiceBase, AzureComponent):
    """Turns pools and buckets into job targets.

    For `azureml` pools: one workspace, whose clusters are in a network that Azure ML manages, and a cluster for each pool. The identity of
    every pool, `vms` ones too, gets a job's access to the buckets; private endpoints lead to these from the pools' network and from the
    workspace's. For `submitters`: their identity. Secrets are not granted from here: their vault's owner gives `Key Vault Secrets User` on
    each to the pools' identities (docs/azure.md).

    The provider can write no blob where account keys are off, so `targets.json` is written by `publish_command`, once after an `up` that
    changed the targets.
    """

    targets: pulumi.Output[dict[str, Any]]
    """{pool: JobTarget v1}, plain data; no entry for a `vms` pool."""
    submitter_role: pulumi.Output[str] | None
    """Client id of the identity for CI; None: no submitters, so people submit with rights of their own."""
    registry: pulumi.Output[str] | None
    """Where images can be pushed, NAME.azurecr.io; None: no registry was asked for."""
    publish_command: pulumi.Output[str]
    """A shell line that writes the targets to `gpuyard/targets.json` of the run bucket, as whoever is logged in to Azure."""

    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[GpuPool],
        writes: Sequence[Bucket],
        reads: Sequence[Bucket] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[str] = (),
        limits: LimitsSpec | Mapping[str, Any] | None = None,
        image: str | None = None,
        isolation: Isolation = "internet",
        registry: Literal["none", "premium"] = "none",
        registry_id: str | None = None,
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`writes` holds exactly one bucket, the run bucket: journal, code, checkpoints, results.

        `submitters`: subjects of GitHub's OIDC tokens, each in full. `image`: container of jobs that name none, by digest.
        `isolation`: what clusters reach, internet (default) or approved: what has a rule alone. `registry`:
        premium makes one for images, paid by the day (default: none; a digest of any registry will do). `registry_id`: id of an existing
        one that pools may pull from. `resource_group`: the name of an existing group (default: that of
        the first pool's network). Workspace, logs and registry are reached from where the run bucket is (`open_to`, of an existing one
        too); the workspace from all of the internet where that is anything.
        """
        found = [*name_problems(name), *_problems(pools, writes, reads, submitters), *_own_problems(isolation, registry, registry_id)]
        raw = {"secrets": dict(secrets or {}), "limits": limits or {}, "image": image}
        given = checked(_Given, raw, f"JobService {name}", self.cloud, [*found, *group_problems(resource_group)])
        props = {
            **given.model_dump(),
            "submitters": list(submitters),
            "pools": [pool.logical_name for pool in pools],
            "isolation": isolation,
            **({"registry": registry} if registry != "none" else {}),
        }
        super().__init__("JobService", name, props, tags, opts)
        self.use_group(resource_group if resource_group is not None else pools[0].network.group)
        self._given = JobSettings(this_stack(), given.limits, given.secrets, given.image)
        run = writes[0]
        open_to = run.open_to or []
        images = make_registry(self, open_to) if registry == "premium" else None
        self.registry = pulumi.Output.from_input(images.login_server) if images is not None else None
        pulled_from: Any = images.id if images is not None else registry_id
        self._let_in(pools, run, reads, [Grant("registry", REGISTRY_PULL, pulled_from)] if pulled_from is not None else [])
        clustered = [pool for pool in pools if pool.spec.service == "azureml"]
        made = make_workspace(self, isolation, open_to=open_to, registry_id=pulled_from) if clustered else None
        self._lead_in(pools, run, reads, images, made)
        self.targets = pulumi.Output.from_input({})
        if made is not None:
            rules = self._lead_out(made, isolation, run, reads, images)
            clusters = self._run_clusters(made.workspace, clustered, rules)
            self.targets = self._targets(made.workspace, clustered, clusters, run, reads)
        self.submitter_role = self._submitter(submitters, run, made.workspace if made is not None else None)
        self.publish_command = run.url.apply(lambda url: publish_command(pulumi.get_stack(), url))
        outputs = {"targets": self.targets, "submitter_role": self.submitter_role, "publish_command": self.publish_command}
        self.register_outputs({**outputs, **({"registry": self.registry} if self.registry is not None else {})})

    @property
    def exports(self) -> dict[str, pulumi.Output[str]]:
        """Add the command that writes targets.json: the provider cannot write it itself."""
        return {**super().exports, "publish_targets": self.publish_command}

    def _let_in(self, pools: Sequence[GpuPool], run: Bucket, reads: Sequence[Bucket], registry: list[Grant]) -> None:
        """A job's rights for what runs on the pools' machines."""
        for pool in pools:
            label = pool.logical_name
            grants = [Grant(f"{label}-writes-{run.logical_name}", BLOB_WRITER, run.id, _JOB)]
            grants += [Grant(f"{label}-reads-{bucket.logical_name}", BLOB_READER, bucket.id) for bucket in reads]
            grants += [grant._replace(suffix=f"{label}-{grant.suffix}") for grant in registry]
            for grant in grants:
                assign(self, grant, pool.identity.principal_id)

    def _lead_in(self, pools: Sequence[GpuPool], run: Bucket, reads: Sequence[Bucket], images: Any, made: MlWorkspace | None) -> None:
        """From the pools' networks: for `vms` machines, and for who submits where the internet leads to nothing."""
        networks = networks_of(pool for pool in pools if pool.spec.service == "vms" or not run.open_to)
        add_bucket_endpoints(networks, [run, *reads])
        if images is not None:
            add_registry_endpoints(self, networks, images)
        if made is not None and not run.open_to:
            add_workspace_endpoints(self, networks, made.workspace, made.storage)

    def _lead_out(self, made: MlWorkspace, isolation: Isolation, run: Bucket, reads: Sequence[Bucket], images: Any) -> list[Any]:
        """From the managed network, where Azure does not make the way itself."""
        targets = bucket_link_targets([run, *reads], every_bucket=isolation == "approved")
        if needs_own_outbound_rules(isolation, run.open_to or []):
            targets.append(PrivateLinkTarget("workspace-storage", made.storage.id, ("blob",)))
            targets += [PrivateLinkTarget("workspace-registry", images.id, ("registry",))] if images is not None else []
        return add_outbound_rules(self, made.workspace, targets)

    def _run_clusters(self, workspace: Any, pools: Sequence[GpuPool], rules: list[Any]) -> dict[str, Any]:
        """In the order that Azure wants: ways out of the managed network first, as they begin with its first node."""
        clusters = {pool.logical_name: make_cluster(self, pool, workspace, rules) for pool in pools}
        ends = [pool.end for pool in pools if pool.end is not None and not pool.closed]
        if ends:
            close_clusters(self, workspace, clusters, min(ends))
        return clusters

    def _targets(
        self, workspace: Any, pools: Sequence[GpuPool], clusters: Mapping[str, Any], run: Bucket, reads: Sequence[Bucket]
    ) -> pulumi.Output[dict[str, Any]]:
        known = pulumi.Output.all(
            subscription=account(self).subscription_id,
            group=self.group.name,
            workspace=workspace.name,
            location=configured_location() or workspace.location,
            run=run.url,
            urls={bucket.logical_name: bucket.url for bucket in (*reads, run)},
            key=run.key_uri,
            clusters={label: cluster.name for label, cluster in clusters.items()},
            clients={pool.logical_name: pool.identity.client_id for pool in pools},
        )
        order = [pool.logical_name for pool in pools]
        return known.apply(lambda found: in_order(order, [{pool.logical_name: self._target(pool, found) for pool in pools}]))

    def _target(self, pool: GpuPool, found: Mapping[str, Any]) -> dict[str, Any]:
        where = (found["subscription"], found["group"], found["workspace"], short_location(found["location"]))
        label = pool.logical_name
        return azureml_target(
            label,
            pool.spec,
            pool.tags.get("expires"),
            TargetContext(*where, self._given, found["run"], found["urls"], found["key"]),
            compute=found["clusters"][label],
            identity_client_id=found["clients"][label],
        )

    def _submitter(self, subjects: Sequence[str], run: Bucket, workspace: Any) -> pulumi.Output[str] | None:
        if not subjects or workspace is None:
            return None
        grants = [Grant("writes-runs", BLOB_WRITER, run.id, _SUBMITTER), Grant("submits", ML_SUBMITTER, workspace.id)]
        name = self.child_name("submitter")
        return Identity(name, grants=grants, subjects=subjects, resource_group=self.group, opts=self.child_options()).client_id


def _problems(pools: Sequence[GpuPool], writes: Sequence[Bucket], reads: Sequence[Bucket], submitters: Sequence[str]) -> list[Problem]:
    problems = service_problems(
        [pool.logical_name for pool in pools],
        [pool.logical_name for pool in pools if pool.spec.service == "vms"],
        [bucket.logical_name for bucket in writes],
        [bucket.logical_name for bucket in reads],
        submitters,
    )
    return problems + exact_subject_problems(submitters)


def _own_problems(isolation: Any, registry: Any, registry_id: Any) -> list[Problem]:
    problems = []
    if registry not in _REGISTRIES:
        problems.append(Problem("registry", "unknown kind", show(registry), " or ".join(_REGISTRIES), "premium is billed by the day"))
    if registry == "premium" and registry_id is not None:
        what, fix = "the yard creates a registry, because registry is premium", "remove registry or registry_id"
        problems.append(Problem("registry_id", what, show(registry_id), fix=fix))
    if isolation not in ISOLATION:
        fix = "approved lets jobs reach only destinations with a rule"
        problems.append(Problem("isolation", "unknown mode", show(isolation), " or ".join(ISOLATION), fix))
    if registry_id is not None and not (isinstance(registry_id, str) and _REGISTRY.fullmatch(registry_id)):
        allowed, fix = "the resource id of a container registry", "`az acr show --query id` prints it"
        problems.append(Problem("registry_id", "not a resource id", show(registry_id), allowed, fix))
    return problems
