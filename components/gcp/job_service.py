"""The job service of a GCP yard: the service account of jobs, its grants, an image repository, and job targets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_gcp import artifactregistry, kms, secretmanager, storage

from ...plain_data import PlainMapping
from ...run_bucket import JOBS_WRITE, SUBMITTERS_WRITE, TARGETS
from ..base import after, this_stack
from ..job_service_base import ContainerJobServiceBase, JobInputs, bucket_urls, make_targets
from ..job_targets import TargetData
from ..naming import job_prefix
from ..validation.submitters import repository_ids
from .bucket import Bucket
from .cidr import region_of
from .gpu_pool import GpuPool
from .identity import Identity
from .job_targets import TargetContext, vertex_target
from .log_view import make_log_view
from .project import GcpComponent, ProjectLookup
from .roles import READ_OBJECTS, READ_SECRET, WRITE_OBJECTS, folder_condition
from .service_agents import service_agent
from .submitter import make_submitter, submitter_problems

__all__ = ["JobService"]

_UNTAGGED_FOR = "2592000s"  # 30 days
_SECRET = re.compile(r"projects/([a-z0-9:.-]+)/secrets/([A-Za-z0-9_-]+)/versions/([0-9]+|latest)")


class JobService(ContainerJobServiceBase[GpuPool, Bucket], GcpComponent):
    """A service that turns pools and buckets into job targets and writes them to `gpuyard/targets.json` of the run bucket.

    `vertex` pools get the service account of jobs, its grants and a repository for images. The machines of `vms` pools get a job's access
    to the buckets. `submitters` get a service account, which they impersonate without a key.
    """

    submitter_role: pulumi.Output[str] | None
    """Email of the service account that submitters impersonate. None without submitters; then users submit with their own permissions."""
    submitter_provider: pulumi.Output[str] | None
    """Name of the workload identity provider, which a pipeline needs in addition to the account. None without pipelines."""
    repository: pulumi.Output[str] | None
    """REGION-docker.pkg.dev/PROJECT/NAME for images of jobs. None without a `vertex` pool."""
    run_url: pulumi.Output[str]
    """gs:// URL of the run bucket."""
    has_jobs: bool
    """Whether the service has `vertex` pools."""

    _reference = _SECRET
    _reference_form = "projects/P/secrets/NAME/versions/N (or latest) of Secret Manager, never the secret's value"
    _output_names = ("targets", "submitter_role", "submitter_provider", "repository")

    _subject_problems = staticmethod(submitter_problems)

    def _make(self, given: JobInputs[GpuPool, Bucket]) -> None:
        """Make the service account of jobs with its grants, the image repository, the submitter, and targets.json."""
        self._project, run, reads = ProjectLookup(self), given.run, given.reads
        vertex = given.pools_of("vertex")
        self.run_url, self.has_jobs = run.url, bool(vertex)
        job = self._job_identity() if vertex else None
        machines = {f"machines-{pool.logical_name}": pool.node_member for pool in given.pools if pool.node_member is not None}
        granted = self._grant({**({"job": job.member} if job else {}), **machines}, run, reads)
        granted += self._let_vertex_encrypt(run) if job else []
        self.repository = self._repository(run) if vertex else None
        self.submitter_role = self.submitter_provider = log_view = None
        if given.submitters and job:
            identity, self.submitter_provider = make_submitter(self, given.subjects, job, self._project, repository_ids(given.submitters))
            self._write_below("submitter", run, identity.member, SUBMITTERS_WRITE)
            self.submitter_role, log_view = identity.email, make_log_view(self, identity, self._project)
        self.targets = self._targets(vertex, job, run, reads, granted, log_view)
        self._write_targets(run)

    def _job_identity(self) -> Identity:
        return Identity(self.child_name("job"), purpose="jobs of the yard", project=self._project, opts=self.child_options())

    @property
    def exports(self) -> dict[str, pulumi.Output[str]]:
        """The stack exports, with the workload identity provider, which a pipeline needs, and the image repository."""
        own = {"submitter_provider": self.submitter_provider, "image_repository": self.repository}
        return {**super().exports, **{name: value for name, value in own.items() if value is not None}}

    def _grant(self, members: Mapping[str, pulumi.Output[str]], run: Bucket, reads: Sequence[Bucket]) -> list[pulumi.Output[str]]:
        """Allow jobs, and the machines of `vms` pools, to write runs, read data and read the yard's secrets."""
        made = []
        for label, member in members.items():
            made += self._write_below(label, run, member, JOBS_WRITE)
            made += [self._on_bucket(f"{label}-reads-{bucket.logical_name}", bucket, READ_OBJECTS, member) for bucket in reads]
            made += [self._on_secret(f"{label}-secret-{name}", version, member) for name, version in sorted(self._settings.secrets.items())]
        return made

    def _write_below(self, label: str, run: Bucket, member: pulumi.Output[str], folders: Sequence[str]) -> list[pulumi.Output[str]]:
        """Allow reading the run bucket and writing only below these folders. targets.json is outside them."""
        where = {"title": f"{label} writes", "description": f"below {' and '.join(folders)}"}
        return [
            self._on_bucket(f"{label}-reads-runs", run, READ_OBJECTS, member),
            self._on_bucket(
                f"{label}-writes-runs",
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
        owner, secret, _ = _SECRET.fullmatch(version).groups()  # type: ignore[union-attr]  # _secret_problems has matched it
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
        log_view: pulumi.Output[str] | None,
    ) -> pulumi.Output[dict[str, TargetData]]:
        known = pulumi.Output.all(
            project_region=self._project.project_region,
            key=run.key_id,
            email=job.email if job else None,
            log_view=log_view,
            vertex={pool.logical_name: [pool.network_attachment, pool.persistent_resource, pool.key_id] for pool in pools},
            granted=list(granted),  # targets are known only after the grants, so that nobody submits a job without its rights
            **bucket_urls(run, reads),
        )
        return make_targets(pools, known, self._target)

    def _target(self, pool: GpuPool, found: PlainMapping) -> TargetData:
        attachment, persistent_resource, pool_key = found["vertex"][pool.logical_name]
        return vertex_target(
            pool.logical_name,
            pool.spec,
            pool.tags.get("expires"),
            TargetContext(found["project_region"], self._settings, found["run"], found["urls"], found["key"]),
            region=region_of(pool.spec.zone or next(iter(pool.network.subnet_ids))),
            service_account=found["email"],
            network_attachment=attachment,
            persistent_resource=persistent_resource,
            pool_key=pool_key,
            log_view=found["log_view"],
        )

    def _repository(self, run: Bucket) -> pulumi.Output[str]:
        """Make the repository, encrypted with the run bucket's key. An existing repository without a key stays as it is.

        Untagged images expire after some days. Tagged images never expire, because jobs name them by digest.
        """
        made = artifactregistry.Repository(
            self.child_name("images"),
            location=self._project.region,
            repository_id=f"{job_prefix(this_stack())}{self.logical_name}",
            format="DOCKER",
            docker_config={"immutable_tags": True},
            cleanup_policies=[
                {"id": "untagged", "action": "DELETE", "condition": {"tag_state": "UNTAGGED", "older_than": _UNTAGGED_FOR}},
            ],
            **({} if run.key_id is None else {"kms_key_name": self._usable_key("artifactregistry", "images-use-key", run.key_id)}),
            description=f"images of the jobs of {this_stack()}",
            labels=self.gcp_labels("images"),
            opts=self.child_options(ignore_changes=["kmsKeyName"]),
        )
        return pulumi.Output.all(made.location, made.project, made.repository_id).apply(
            lambda words: f"{words[0]}-docker.pkg.dev/{words[1]}/{words[2]}"
        )

    def _let_vertex_encrypt(self, run: Bucket) -> list[pulumi.Output[str]]:
        """Let Vertex AI encrypt a job's disks with the run bucket's key, if the yard knows that key."""
        return [] if run.key_id is None else [self._usable_key("aiplatform", "vertex-uses-key", run.key_id)]

    def _usable_key(self, use: str, suffix: str, key_id: pulumi.Output[str]) -> pulumi.Output[str]:
        """Let a Google service encrypt with the key. Return the key's id, which is known after the service may use the key."""
        agent = service_agent(self, use, self._project)
        grant = kms.CryptoKeyIAMMember(
            self.child_name(suffix),
            crypto_key_id=key_id,
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=agent.member,
            opts=self.child_options(depends_on=agent.made),
        )
        return after(key_id, [pulumi.Output.from_input(grant.id)])

    def _write_targets(self, run: Bucket) -> None:
        """Write targets.json to the run bucket."""
        storage.BucketObject(
            self.child_name("targets"),
            bucket=run.name,
            name=TARGETS,
            **self._targets_content(),
            opts=self.child_options(),
        )
