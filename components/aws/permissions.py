"""Permissions of each role of a yard, as policy statements. tools.docs_tables makes docs/aws-permissions.md from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...run_bucket import JOBS_WRITE
from .job_images import table
from .policy import ArnScope, Statement

__all__ = [
    "TRAINING_JOBS",
    "Storage",
    "cluster_member",
    "execution",
    "job",
    "node",
    "pull",
    "sagemaker_job",
    "shell",
    "use_keys",
    "write_logs",
]

TRAINING_JOBS = "/aws/sagemaker/TrainingJobs"
"""The log group that SageMaker uses for all training jobs of an account."""
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")


@dataclass(frozen=True)
class Storage:
    """The ARNs of a bucket and of its key."""

    arn: str
    key_arn: str | None
    """The key that encrypts the bucket's objects. None: the key is unknown, so roles get no permission on a key."""


def node(scope: ArnScope, log_group_arns: Sequence[str] = ()) -> list[Statement]:
    """Return the permissions of a Batch machine except for its cluster: send logs, pull images, and `shell`.

    With `cluster_member` they replace the managed policy AmazonEC2ContainerServiceforEC2Role, but only for the pool's cluster and
    `log_group_arns` (default: none). CreateCluster is left out, because Batch creates the cluster.
    """
    return [
        Statement(("ecs:DiscoverPollEndpoint",), ("*",), why="the ECS agent looks up the address of its service"),
        Statement(("ec2:DescribeTags",), ("*",), why="the ECS agent reads the machine's tags before it registers it"),
        *write_logs(log_group_arns, "the container runtime sends job output with the machine's role"),
        *pull(scope, None),
        *shell(scope),
    ]


def cluster_member(cluster_arn: str) -> list[Statement]:
    """Return the permissions of a Batch machine on the cluster of its compute environment, and on no other cluster."""
    register = ("ecs:DeregisterContainerInstance", "ecs:RegisterContainerInstance")
    report = ("ecs:SubmitAttachmentStateChanges", "ecs:SubmitContainerStateChange", "ecs:SubmitTaskStateChange")
    serve = ("ecs:Poll", "ecs:StartTelemetrySession", "ecs:UpdateContainerInstancesState")
    machines = (cluster_arn.replace(":cluster/", ":container-instance/", 1) + "/*",)
    registering = {"StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}}
    return [
        Statement((*register, *report), (cluster_arn,), why="the ECS agent joins the cluster of its pool and reports task states"),
        Statement(serve, machines, why="the ECS agent receives tasks and sends metrics"),
        Statement(("ecs:TagResource",), machines, registering, "the ECS agent tags the machine when it registers it"),
    ]


def shell(scope: ArnScope) -> list[Statement]:
    """Return the permissions for a shell through Session Manager, without an open port or an SSH key.

    The managed policy AmazonSSMManagedInstanceCore would also allow the machine to read every SSM parameter.

    docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
    """
    directions = ("Control", "Data")
    channels = tuple(f"ssmmessages:{verb}{which}Channel" for verb in ("Create", "Open") for which in directions)
    return [
        Statement(("ssm:UpdateInstanceInformation",), (scope.arn("ec2", "instance/*"),), why="the machine registers for Session Manager"),
        Statement(channels, ("*",), why="a user's shell on the machine, without an open port"),
    ]


def job(run: Storage, reads: Sequence[Storage], secrets: Sequence[str]) -> list[Statement]:
    """Return the permissions of training code: read data, read and write runs, read the yard's secrets."""
    below = {"StringLikeIfExists": {"s3:prefix": "gpuyard/*"}}
    read_all = [
        statement
        for bucket in reads
        for statement in (
            Statement(("s3:ListBucket",), (bucket.arn,), why="lists data in a bucket with `jobs: read`"),
            Statement(("s3:GetObject",), (f"{bucket.arn}/*",), why="reads its data"),
        )
    ]
    # IfExists: a read of a missing object has no prefix, and without ListBucket S3 answers 403 instead of 404. IAM cannot tell it from a
    # listing without a prefix, so such a listing is allowed too: it shows the names of objects in the run bucket, not their contents
    return [
        *read_all,
        Statement(
            ("s3:ListBucket",),
            (run.arn,),
            below,
            "lists checkpoints; without this permission S3 answers 403, not 404, for a missing object",
        ),
        Statement(("s3:GetObject",), (f"{run.arn}/gpuyard/*",), why="reads the code, the record of its run and checkpoints"),
        Statement(
            ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
            tuple(f"{run.arn}/{folder}*" for folder in JOBS_WRITE),
            why="writes checkpoints and results, deletes old checkpoints; not targets.json, code or run records",
        ),
        *use_keys(reads, write=False),
        *use_keys([run], write=True),
        *_read_secrets(secrets),
    ]


def execution(scope: ArnScope, log_group_arn: str, image: str | None) -> list[Statement]:
    """Return the permissions to start a container: pull the image, write the log. `image`: the default image, from any account."""
    return [*pull(scope, image), *write_logs([log_group_arn], "the output of the job")]


def sagemaker_job(
    scope: ArnScope,
    run: Storage,
    prefix: str,
    *,
    subnet_arns: Sequence[str],
    security_group_arns: Sequence[str],
    model_group_arn: str,
    image: str | None,
) -> list[Statement]:
    """Return the permissions that SageMaker needs besides `job`. `prefix`: prefix of the jobs' names."""
    interfaces = scope.arn("ec2", "network-interface/*")
    in_subnets = {"ArnEquals": {"ec2:Subnet": list(subnet_arns)}}
    permit = ("ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission")
    describe = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
    interfaces_and_network = (interfaces, *subnet_arns, *security_group_arns)
    namespaces = {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
    package = model_group_arn.replace(":model-package-group/", ":model-package/") + "/*"
    register = ("sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage")
    group = scope.arn("logs", f"log-group:{TRAINING_JOBS}")
    grant = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    disks = (
        [
            Statement(("kms:CreateGrant",), (run.key_arn,), grant, "encrypts the machines' disks"),
            Statement(("kms:DescribeKey",), (run.key_arn,), why="SageMaker looks the key up before it uses it"),  # not through a grant
        ]
        if run.key_arn
        else []
    )
    return [
        *pull(scope, image),
        Statement(("s3:GetBucketLocation",), (run.arn,), why="SageMaker looks up the bucket's region before it copies checkpoints"),
        Statement(
            ("ec2:CreateNetworkInterface",), interfaces_and_network, why="attaches its machines to the yard's subnets and security group"
        ),
        Statement(permit, (interfaces,), in_subnets, "attaches and removes the network interfaces of its machines"),
        Statement(tuple(f"ec2:Describe{what}" for what in describe), ("*",), why="SageMaker looks the network up before it uses it"),
        Statement(("logs:CreateLogGroup",), (group,), why="creates the log group of all training jobs, if this job is the account's first"),
        Statement(("logs:DescribeLogStreams",), (group, f"{group}:*"), why="finds the job's log stream"),
        *write_logs([group], "the output of the job", prefix),
        Statement(("cloudwatch:PutMetricData",), ("*",), namespaces, "writes utilization metrics of its machines"),
        Statement(register, (model_group_arn, package), why="a job registers the model it trained"),
        *disks,
    ]


def use_keys(buckets: Sequence[Storage], *, write: bool) -> list[Statement]:
    """Return the permissions to use the buckets' keys, only through S3."""
    actions = ("kms:Decrypt", "kms:GenerateDataKey") if write else ("kms:Decrypt",)
    by_region: dict[str, set[str]] = {}
    for key in {bucket.key_arn for bucket in buckets if bucket.key_arn}:
        by_region.setdefault(key.split(":")[3], set()).add(key)  # a bucket and its key are in one region
    return [
        Statement(
            actions,
            tuple(sorted(keys)),
            {"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"}},
            "encrypts and decrypts objects, only through S3" if write else "decrypts objects, only through S3",
        )
        for region, keys in sorted(by_region.items())
    ]


def pull(scope: ArnScope, image: str | None) -> list[Statement]:
    """Return the permissions to pull this account's images, AWS's images in job_images.yaml, and the default image."""
    known = [scope.arn("ecr", "repository/*"), *_vendor_repositories(scope), *_repository(scope, image)]
    return [
        Statement(("ecr:GetAuthorizationToken",), ("*",), why="logs in to the registry"),
        Statement(_PULL, tuple(dict.fromkeys(known)), why="pulls the job's image"),
    ]


def _vendor_repositories(scope: ArnScope) -> list[str]:
    """Return the ARNs of AWS's repositories in this region, or an empty list if job_images.yaml does not have the region."""
    account = table().accounts.get(scope.region)
    names = sorted({image.repository for images in table().images.values() for image in images.values()})
    return [f"arn:{scope.partition}:ecr:{scope.region}:{account}:repository/{name}" for name in names if account]


def _repository(scope: ArnScope, image: str | None) -> list[str]:
    """Return the ARN of an image's repository if it is in ECR: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME@sha256:..."""
    host, _, rest = (image or "").partition("/")
    words = host.split(".")
    if words[1:3] != ["dkr", "ecr"] or not rest:
        return []
    name = rest.partition("@")[0].partition(":")[0]
    return [f"arn:{scope.partition}:ecr:{words[3]}:{words[0]}:repository/{name}"]


def _read_secrets(secrets: Sequence[str]) -> list[Statement]:
    if not secrets:
        return []
    return [Statement(("secretsmanager:GetSecretValue",), tuple(sorted(set(secrets))), why="reads the yard's secrets, and no others")]


def write_logs(groups: Sequence[str], why: str, prefix: str = "") -> list[Statement]:
    """Return the permissions to write to log groups. `prefix`: only to log streams whose names begin with it."""
    if not groups:
        return []
    streams = tuple(f"{group}:log-stream:{prefix}*" for group in groups)
    return [Statement(("logs:CreateLogStream", "logs:PutLogEvents"), streams, why=why)]
