"""The job service of an Azure yard: an Azure ML workspace with a cluster for each pool, role assignments, and job targets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pulumi

from ...plain_data import PlainDict, PlainMapping
from ...problems import Problem, show
from ...run_bucket import JOBS_WRITE, SUBMITTERS_WRITE
from ..base import Problems, Tags, keywords_only
from ..job_service_base import JobInputs, JobServiceBase, bucket_urls, make_targets
from ..job_targets import TargetData
from ..spec import LimitsSpec
from ..validation.submitters import Submitter, people_of, pipelines_of
from .account import AzureComponent, ResourceGroup, account, configured_location, group_problems
from .bucket import Bucket
from .cluster import close_clusters, make_cluster
from .gpu_pool import GpuPool
from .identity import Identity, assign, define_role
from .job_targets import TargetContext, azureml_target, publish_command, short_location
from .names import cluster_name
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
from .roles import ARTIFACTS_WRITER, BLOB_READER, BLOB_WRITER, ML_SUBMITTER, REGISTRY_PULL, Grant
from .subjects import exact_subject_problems, principal
from .workspace import ISOLATION, Isolation, MlWorkspace, make_workspace, needs_own_outbound_rules

if TYPE_CHECKING:
    from pulumi_azure_native import containerregistry
    from pulumi_azure_native import machinelearningservices as ml

__all__ = ["JobService"]

_REGISTRY = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ContainerRegistry/registries/[^/]+", re.IGNORECASE)
_REGISTRIES = ("none", "premium")


class JobService(JobServiceBase[GpuPool, Bucket], AzureComponent):
    """A service that turns pools and buckets into job targets.

    All `azureml` pools share one workspace and get a cluster each, in a network that Azure ML manages. The identity of every pool, also of
    `vms` pools, gets a job's access to the buckets. Private endpoints connect the pools' networks and Azure ML's network to the buckets.
    Pipelines in `submitters` get a managed identity, people and groups its roles. The job service grants no access to secrets: the vault's
    owner gives the pools' identities `Key Vault Secrets User` on each secret (docs/azure.md).

    The provider cannot write blobs without account keys. Therefore run `publish_command`, which writes `targets.json`, after each `up` that
    changes the targets.
    """

    _reference = re.compile(r"https://[a-z0-9-]{3,24}\.vault\.azure\.net/secrets/[A-Za-z0-9-]{1,127}(/[0-9a-f]{32})?")
    _reference_form = "https://VAULT.vault.azure.net/secrets/NAME of a key vault, never the secret's value"
    _subject_problems = staticmethod(exact_subject_problems)
    _output_names = ("targets", "submitter_role", "publish_command")
    submitter_role: pulumi.Output[str] | None
    """Client id of the identity for pipelines. None without pipelines: Entra lets no person use a managed identity."""
    registry: pulumi.Output[str] | None
    """NAME.azurecr.io, for pushing images. None without `registry: premium`."""
    publish_command: pulumi.Output[str]
    """Shell command that writes the targets to `gpuyard/targets.json` of the run bucket, with the login of `az`."""

    @keywords_only
    def __init__(
        self,
        name: str,
        *,
        pools: Sequence[GpuPool],
        writes: Sequence[Bucket],
        reads: Sequence[Bucket] = (),
        secrets: Mapping[str, str] | None = None,
        submitters: Sequence[Submitter] = (),
        limits: LimitsSpec | PlainMapping | None = None,
        image: str | None = None,
        isolation: Isolation = "internet",
        registry: Literal["none", "premium"] = "none",
        registry_id: str | None = None,
        resource_group: pulumi.Input[str] | ResourceGroup | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the job service. `writes`: exactly one bucket, the run bucket, with journal, code, checkpoints and results.

        `submitters`: complete subjects of GitHub's OIDC tokens, and object ids of people and groups. `image`: container image by digest,
        for jobs that name no image. `isolation`: egress of the clusters: internet (default), or approved, which allows only destinations
        with a rule. `registry`: premium makes a container registry, billed by the day (default: none; an image of any registry works).
        `registry_id`: id of an existing registry that pools may pull from. `resource_group`: the name of an existing group (default: the
        group of the first pool's network). The run bucket's `open_to` also applies to the workspace's storage and to the registry. If it is
        not empty, the whole internet can reach the workspace.
        """
        self._isolation, self._registry, self._registry_id, self._given_group = isolation, registry, registry_id, resource_group
        self._build(name, JobInputs(pools, writes, reads, submitters, secrets, limits, image), tags, opts)

    def _problems(self) -> Problems:
        return [*_own_problems(self._isolation, self._registry, self._registry_id), *group_problems(self._given_group)]

    def _props(self, settings: PlainDict, inputs: JobInputs[GpuPool, Bucket]) -> PlainDict:
        registry = {"registry": self._registry} if self._registry != "none" else {}
        return {**super()._props(settings, inputs), "isolation": self._isolation, **registry}

    def _make(self, given: JobInputs[GpuPool, Bucket]) -> None:
        """Make the workspace and its clusters, the registry, private endpoints, role assignments and the submitter's identity."""
        pools, run, reads, isolation = given.pools, given.run, given.reads, self._isolation
        self.use_group(pools[0].network.group if self._given_group is None else self._given_group)
        sources = run.open_to or []
        images = make_registry(self, sources) if self._registry == "premium" else None
        self.registry = pulumi.Output.from_input(images.login_server) if images is not None else None
        pulled_from = images.id if images is not None else self._registry_id
        self._grant(pools, run, reads, [Grant("registry", REGISTRY_PULL, pulled_from)] if pulled_from is not None else [])
        clustered = given.pools_of("azureml")
        made = make_workspace(self, isolation, open_to=sources, registry_id=pulled_from) if clustered else None
        self._add_private_endpoints(pools, run, reads, images, made)
        self.targets = pulumi.Output.from_input({})
        if made is not None:
            for pool in clustered:
                artifacts = Grant(f"{pool.logical_name}-writes-artifacts", ARTIFACTS_WRITER, made.storage.id)
                assign(self, artifacts, pool.identity.principal_id)
            rules = self._add_outbound_rules(made, isolation, run, reads, images)
            clusters = self._make_clusters(made.workspace, clustered, rules)
            self.targets = self._targets(made.workspace, clustered, clusters, run, reads)
        self.submitter_role = self._submitter(given.subjects, run, made.workspace if made is not None else None)
        self.publish_command = run.url.apply(lambda url: publish_command(pulumi.get_stack(), url))

    def _outputs(self) -> PlainMapping:
        return {**super()._outputs(), **({"registry": self.registry} if self.registry is not None else {})}

    @property
    def exports(self) -> dict[str, pulumi.Output[str]]:
        """The stack exports, and the command that writes targets.json, because the provider cannot write it."""
        return {**super().exports, "publish_targets": self.publish_command}

    def _grant(self, pools: Sequence[GpuPool], run: Bucket, reads: Sequence[Bucket], registry: list[Grant]) -> None:
        """Give the pools' identities a job's permissions."""
        for pool in pools:
            label = pool.logical_name
            grants = [Grant(f"{label}-writes-{run.logical_name}", BLOB_WRITER, run.id, JOBS_WRITE)]
            grants += [Grant(f"{label}-reads-{bucket.logical_name}", BLOB_READER, bucket.id) for bucket in reads]
            grants += [grant._replace(suffix=f"{label}-{grant.suffix}") for grant in registry]
            for grant in grants:
                assign(self, grant, pool.identity.principal_id)

    def _add_private_endpoints(
        self,
        pools: Sequence[GpuPool],
        run: Bucket,
        reads: Sequence[Bucket],
        images: containerregistry.Registry | None,
        made: MlWorkspace | None,
    ) -> None:
        """Make private endpoints in the networks of `vms` pools. If the run bucket is closed to the internet, make them in all networks."""
        networks = networks_of(pool for pool in pools if pool.spec.service == "vms" or not run.open_to)
        add_bucket_endpoints(networks, [run, *reads])
        if images is not None:
            add_registry_endpoints(self, networks, images)
        if made is not None and not run.open_to:
            add_workspace_endpoints(self, networks, made.workspace, made.storage)

    def _add_outbound_rules(
        self,
        made: MlWorkspace,
        isolation: Isolation,
        run: Bucket,
        reads: Sequence[Bucket],
        images: containerregistry.Registry | None,
    ) -> list[ml.ManagedNetworkSettingsRule]:
        """Make the managed network's outbound rules that Azure does not make by itself."""
        targets = bucket_link_targets([run, *reads], every_bucket=isolation == "approved")
        if needs_own_outbound_rules(isolation, run.open_to or []):
            targets.append(PrivateLinkTarget("workspace-storage", made.storage.id, ("blob",)))
            targets += [PrivateLinkTarget("workspace-registry", images.id, ("registry",))] if images is not None else []
        return add_outbound_rules(self, made.workspace, targets)

    def _make_clusters(
        self,
        workspace: ml.Workspace,
        pools: Sequence[GpuPool],
        rules: Sequence[ml.ManagedNetworkSettingsRule],
    ) -> dict[str, ml.Compute]:
        """Make the clusters after the outbound rules, one after another: Azure provisions the managed network before the first cluster.

        A pool whose end has passed has no cluster.
        """
        clusters: dict[str, ml.Compute] = {}
        for pool in pools:
            if pool.closed:
                continue
            clusters[pool.logical_name] = make_cluster(self, pool, workspace, [*rules, *list(clusters.values())[-1:]])
        ends = [pool.end for pool in pools if pool.end is not None and not pool.closed]
        if ends:
            close_clusters(self, workspace, clusters, min(ends))
        return clusters

    def _targets(
        self,
        workspace: ml.Workspace,
        pools: Sequence[GpuPool],
        clusters: Mapping[str, ml.Compute],
        run: Bucket,
        reads: Sequence[Bucket],
    ) -> pulumi.Output[dict[str, TargetData]]:
        known = pulumi.Output.all(
            subscription=account(self).subscription_id,
            group=self.group.name,
            workspace=workspace.name,
            location=configured_location(pulumi.ResourceOptions(parent=self)) or workspace.location,
            key=run.key_uri,
            clusters={name: clusters[name].name if name in clusters else cluster_name(name) for name in (p.logical_name for p in pools)},
            clients={pool.logical_name: pool.identity.client_id for pool in pools},
            **bucket_urls(run, reads),
        )
        return make_targets(pools, known, self._target)

    def _target(self, pool: GpuPool, found: PlainMapping) -> TargetData:
        where = (found["subscription"], found["group"], found["workspace"], short_location(found["location"]))
        return azureml_target(
            pool.logical_name,
            pool.spec,
            pool.tags.get("expires"),
            TargetContext(*where, self._settings, found["run"], found["urls"], found["key"]),
            compute=found["clusters"][pool.logical_name],
            identity_client_id=found["clients"][pool.logical_name],
        )

    def _submitter(self, submitters: Sequence[str], run: Bucket, workspace: ml.Workspace | None) -> pulumi.Output[str] | None:
        """Give pipelines an identity with the roles of a submitter, and people and groups the roles themselves."""
        if workspace is None or not submitters:
            return None
        role = define_role(self, "submits-jobs", ML_SUBMITTER)
        grants = [Grant("writes-runs", BLOB_WRITER, run.id, SUBMITTERS_WRITE), Grant("submits", role, workspace.id)]
        for kind, object_id in map(principal, people_of(submitters)):
            for grant in grants:
                assign(self, grant._replace(suffix=f"{grant.suffix}-{object_id[:8]}"), object_id, kind)
        subjects = pipelines_of(submitters)
        if not subjects:
            return None
        name = self.child_name("submitter")
        return Identity(name, grants=grants, subjects=subjects, resource_group=self.group, opts=self.child_options()).client_id


def _own_problems(isolation: Any, registry: Any, registry_id: Any) -> list[Problem]:
    problems = []
    if registry not in _REGISTRIES:
        problems.append(
            Problem(
                "registry",
                "unknown kind",
                show(registry),
                " or ".join(_REGISTRIES),
                "write premium (billed by the day), or none for no registry",
            )
        )
    if registry == "premium" and registry_id is not None:
        what, fix = "the yard creates a registry, because registry is premium", "remove registry or registry_id"
        problems.append(Problem("registry_id", what, show(registry_id), fix=fix))
    if isolation not in ISOLATION:
        fix = "set internet, or approved, which allows only destinations with a rule"
        problems.append(Problem("isolation", "unknown mode", show(isolation), " or ".join(ISOLATION), fix))
    if registry_id is not None and not (isinstance(registry_id, str) and _REGISTRY.fullmatch(registry_id)):
        allowed, fix = "the resource id of a container registry", "`az acr show --name REGISTRY --query id` prints it"
        problems.append(Problem("registry_id", "not a resource id", show(registry_id), allowed, fix))
    return problems
