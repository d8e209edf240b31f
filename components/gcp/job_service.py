"""The job service of a GCP yard: the account of jobs, what they may read and write, images, and where jobs can go."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import pulumi
from pulumi_gcp import artifactregistry, kms, secretmanager, storage
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ...problems import Problem
from ..base import Tags, checked, this_stack
from ..job_service_base import JobServiceBase
from ..job_targets import TARGETS, JobSettings, in_order, service_problems
from ..naming import job_prefix, name_problems
from ..spec import LimitsSpec, Spec
from ..spec.fields import ImageDigest
from ..validation.submitters import subject_problems
from .cidr import region_of
from .identity import Identity
from .job_targets import TargetContext, vertex_target
from .key import AGENTS
from .project import GcpComponent, ProjectLookup
from .roles import READ_OBJECTS, READ_SECRET, WRITE_OBJECTS, folder_condition
from .submitter import make_submitter, token_condition_problems

if TYPE_CHECKING:
    from .bucket import Bucket
    from .gpu_pool import GpuPool

_SECRET = re.compile(r"projects/([a-z0-9:.-]+)/secrets/([A-Za-z0-9_-]+)/versions/([0-9]+|latest)")


def _secret_version(value: str) -> str:
    if not _SECRET.fullmatch(value):
        raise PydanticCustomError("secret", "projects/P/secrets/NAME/versions/N (or latest) of Secret Manager; never its value")
    return value


class _Given(Spec):
    secrets: Mapping[str, Annotated[str, AfterValidator(_secret_version)]] = Field(description="versions of secrets by logical name")
    limits: LimitsSpec
    image: ImageDigest | None


class JobService(JobServiceBase, GcpComponent):
    """Turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket.

    For `vertex` pools: the service account of jobs, what it may read and write, a repository for images. The machines of `vms` pools get a
    job's access to the buckets. For `submitters`: a service account that their pipelines become, without a key.
    """

    targets: pulumi.Output[dict[str, Any]]
    """{pool: JobTarget v1}, plain data; no entry for a `vms` pool."""
    submitter_role: pulumi.Output[str] | None
    """Mail address of the service account for CI; None: no submitters, so people submit with rights of their own."""
    submitter_provider: pulumi.Output[str] | None
    """Name of the workload identity provider that a pipeline names beside it; None: no submitters."""
    repository: pulumi.Output[str] | None
    """REGION-docker.pkg.dev/PROJECT/NAME, where images of jobs can go; None: no `vertex` pool."""

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
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`writes` holds exactly one bucket, the run bucket: journal, code, checkpoints, results.

        `submitters`: subjects of GitHub's OIDC tokens. `image`: container of jobs that name none, by digest.
        """
        found = [*name_problems(name), *_problems(pools, writes, reads, submitters)]
        raw = {"secrets": dict(secrets or {}), "limits": limits or {}, "image": image}
        given = checked(_Given, raw, f"JobService {name}", self.cloud, found)
        props = {**given.model_dump(), "submitters": list(submitters), "pools": [pool.logical_name for pool in pools]}
        super().__init__("JobService", name, props, tags, opts)
        self._where = ProjectLookup(self)
        self._given = JobSettings(this_stack(), given.limits, given.secrets, given.image)
        vertex = [pool for pool in pools if pool.spec.service == "vertex"]
        job = (
            Identity(self.child_name("job"), purpose="jobs of the yard", project=self._where, opts=self.child_options()) if vertex else None
        )
        machines = {f"machines-{pool.logical_name}": pool.node_member for pool in pools if pool.node_member is not None}
        granted = self._grant({**({"job": job.member} if job else {}), **machines}, writes[0], reads)
        granted += self._let_vertex_encrypt(writes[0]) if job else []
        self.targets = self._targets(pools, job, writes[0], reads, granted)
        self.repository = self._repository() if vertex else None
        self.submitter_role = self.submitter_provider = None
        if submitters and job:
            identity, self.submitter_provider = make_submitter(self, submitters, job, self._where)
            self._write_below("submitter", writes[0], identity.member, "gpuyard/code/", "gpuyard/runs/")
            self.submitter_role = identity.email
        self._write(writes[0])
        outputs = {"targets": self.targets, "submitter_role": self.submitter_role, "submitter_provider": self.submitter_provider}
        self.register_outputs({**outputs, "repository": self.repository})

    @property
    def exports(self) -> dict[str, pulumi.Output[str]]:
        """Add the workload identity provider, which a pipeline names beside the submitter's account."""
        provider = self.submitter_provider
        return {**super().exports, **({} if provider is None else {"submitter_provider": provider})}

    def _grant(self, members: Mapping[str, pulumi.Output[str]], run: Bucket, reads: Sequence[Bucket]) -> list[pulumi.Output[str]]:
        """What jobs may do, and so the machines that run them: write runs, read data, read exactly the yard's secrets."""
        made = []
        for who, member in members.items():
            made += self._write_below(who, run, member, "gpuyard/runs/")
            made += [self._on_bucket(f"{who}-reads-{bucket.logical_name}", bucket, READ_OBJECTS, member) for bucket in reads]
            made += [self._on_secret(f"{who}-secret-{name}", version, member) for name, version in sorted(self._given.secrets.items())]
        return made

    def _write_below(self, who: str, run: Bucket, member: pulumi.Output[str], *folders: str) -> list[pulumi.Output[str]]:
        """The run bucket: read all of it, write below these folders alone; targets.json is beyond them."""
        where = {"title": f"{who} writes", "description": f"below {' and '.join(folders)}"}
        return [
            self._on_bucket(f"{who}-reads-runs", run, READ_OBJECTS, member),
            self._on_bucket(
                f"{who}-writes-runs",
                run,
                WRITE_OBJECTS,
                member,
                condition={**where, "expression": run.name.apply(lambda name: folder_condition(name, *folders))},
            ),
        ]

    def _on_bucket(self, suffix: str, bucket: Bucket, role: str, member: pulumi.Output[str], **more: Any) -> pulumi.Output[str]:
        grant = storage.BucketIAMMember(
            self.child_name(suffix), bucket=bucket.name, role=role, member=member, opts=self.child_options(), **more
        )
        return pulumi.Output.from_input(grant.id)

    def _on_secret(self, suffix: str, version: str, member: pulumi.Output[str]) -> pulumi.Output[str]:
        owner, secret, _ = _SECRET.fullmatch(version).groups()  # type: ignore[union-attr]  # the model has matched it
        grant = secretmanager.SecretIamMember(
            self.child_name(suffix), project=owner, secret_id=secret, role=READ_SECRET, member=member, opts=self.child_options()
        )
        return pulumi.Output.from_input(grant.id)

    def _targets(
        self,
        pools: Sequence[GpuPool],
        job: Identity | None,
        run: Bucket,
        reads: Sequence[Bucket],
        granted: Sequence[pulumi.Output[str]],
    ) -> pulumi.Output[dict[str, Any]]:
        urls = {bucket.logical_name: bucket.url for bucket in (*reads, run)}
        vertex = [pool for pool in pools if pool.spec.service == "vertex"]
        doors = {pool.logical_name: [pool.network_attachment, pool.persistent_resource] for pool in vertex}
        known = pulumi.Output.all(
            place=self._where.project_region,
            run=run.url,
            urls=urls,
            key=run.key_id,
            email=job.email if job else None,
            doors=doors,
            granted=list(granted),  # a target is known once its jobs can do their work
        )
        order = [pool.logical_name for pool in pools]
        return known.apply(lambda found: in_order(order, [{pool.logical_name: self._target(pool, found) for pool in vertex}]))

    def _target(self, pool: GpuPool, found: Mapping[str, Any]) -> dict[str, Any]:
        attachment, held = found["doors"][pool.logical_name]
        return vertex_target(
            pool.logical_name,
            pool.spec,
            pool.tags.get("expires"),
            TargetContext(found["place"], self._given, found["run"], found["urls"], found["key"]),
            region=region_of(pool.spec.zone or next(iter(pool.network.subnet_ids))),
            service_account=found["email"],
            network_attachment=attachment,
            persistent_resource=held,
        )

    def _repository(self) -> pulumi.Output[str]:
        made = artifactregistry.Repository(
            self.child_name("images"),
            location=self._where.region,
            repository_id=f"{job_prefix(this_stack())}{self.logical_name}",
            format="DOCKER",
            docker_config={"immutable_tags": True},
            description=f"images of the jobs of {this_stack()}",
            labels=self.gcp_labels("images"),
            opts=self.child_options(),
        )
        return pulumi.Output.all(made.location, made.project, made.repository_id).apply(
            lambda words: f"{words[0]}-docker.pkg.dev/{words[1]}/{words[2]}"
        )

    def _let_vertex_encrypt(self, run: Bucket) -> list[pulumi.Output[str]]:
        """Vertex AI keeps a job's disks under the run bucket's key, where the yard knows it."""
        if run.key_id is None:
            return []
        grant = kms.CryptoKeyIAMMember(
            self.child_name("vertex-uses-key"),
            crypto_key_id=run.key_id,
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=self._where.number.apply(lambda number: f"serviceAccount:{AGENTS['aiplatform'].format(number=number)}"),
            opts=self.child_options(),
        )
        return [pulumi.Output.from_input(grant.id)]

    def _write(self, run: Bucket) -> None:
        """Text, not properties: the engine drops nulls and turns whole numbers into floats."""
        storage.BucketObject(
            self.child_name("targets"),
            bucket=run.name,
            name=TARGETS,
            content=self.targets.apply(lambda found: json.dumps(found, indent=2, sort_keys=True) + "\n"),
            content_type="application/json",
            opts=self.child_options(),
        )


def _problems(pools: Sequence[GpuPool], writes: Sequence[Bucket], reads: Sequence[Bucket], submitters: Sequence[str]) -> list[Problem]:
    problems = service_problems(
        [pool.logical_name for pool in pools],
        [pool.logical_name for pool in pools if pool.spec.service == "vms"],
        [bucket.logical_name for bucket in writes],
        [bucket.logical_name for bucket in reads],
        submitters,
    )
    return [*problems, *subject_problems(submitters), *token_condition_problems(submitters)]
