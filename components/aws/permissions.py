"""What each role may do, as statements built from the ids of what the yard made. Pure; docs/aws-permissions.md prints all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .policy import Place, Statement

TRAINING_JOBS = "/aws/sagemaker/TrainingJobs"
"""The log group of all training jobs of an account: SageMaker's choice."""
_VENDOR_IMAGES = "763104351884"  # AWS Deep Learning Containers: github.com/aws/deep-learning-containers, available_images.md
_VENDOR_REPOSITORY = "repository/pytorch-training"
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")


@dataclass(frozen=True)
class Storage:
    """A bucket as policies name it."""

    arn: str
    key_arn: str | None
    """The key its objects are under; None: not known, so no key is granted."""


def node(place: Place, log_group_arns: Sequence[str] = ()) -> list[Statement]:
    """A machine of a Batch pool: joins the cluster that Batch makes, ships logs, pulls images; and `shell`.

    What AmazonEC2ContainerServiceforEC2Role grants on everything, narrowed to clusters of Batch and named log groups, less what
    Batch does itself (it makes the cluster). Without log groups: none.
    """
    cluster = (place.arn("ecs", "cluster/AWSBatch-*"),)
    register = ("ecs:DeregisterContainerInstance", "ecs:RegisterContainerInstance")
    report = ("ecs:SubmitAttachmentStateChanges", "ecs:SubmitContainerStateChange", "ecs:SubmitTaskStateChange")
    serve = ("ecs:Poll", "ecs:StartTelemetrySession", "ecs:UpdateContainerInstancesState")
    instance = (place.arn("ecs", "container-instance/AWSBatch-*"),)
    registering = {"StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}}
    return [
        Statement(("ecs:DiscoverPollEndpoint",), ("*",), why="the machine's agent asks where its service is"),
        Statement((*register, *report), cluster, why="the agent joins the cluster of its Batch environment and reports on jobs"),
        Statement(serve, instance, why="the agent receives jobs and sends figures"),
        Statement(("ecs:TagResource",), instance, registering, "the agent registers the machine with its tags"),
        Statement(("ec2:DescribeTags",), ("*",), why="the agent reads the machine's tags before it registers"),
        *write_logs(log_group_arns, "the container runtime ships the output of jobs with the machine's role"),
        *pull(place, None),
        *shell(place),
    ]


def shell(place: Place) -> list[Statement]:
    """A shell on a machine through Session Manager: no port, no key. Less than AmazonSSMManagedInstanceCore, which reads every parameter.

    docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
    """
    directions = ("Control", "Data")
    channels = tuple(f"ssmmessages:{verb}{which}Channel" for verb in ("Create", "Open") for which in directions)
    return [
        Statement(("ssm:UpdateInstanceInformation",), (place.arn("ec2", "instance/*"),), why="the machine registers for Session Manager"),
        Statement(channels, ("*",), why="a person's shell on the machine, without an open port"),
    ]


def job(run: Storage, reads: Sequence[Storage], secrets: Sequence[str]) -> list[Statement]:
    """What training code may do: read data, read and write its runs, read the secrets the yard names. Nothing of other services."""
    below = {"StringLikeIfExists": {"s3:prefix": "gpuyard/*"}}
    read_all = [
        statement
        for bucket in reads
        for statement in (
            Statement(("s3:ListBucket",), (bucket.arn,), why="finds its data in a bucket with jobs: read"),
            Statement(("s3:GetObject",), (f"{bucket.arn}/*",), why="reads its data"),
        )
    ]
    # IfExists: a read of an object that is not there carries no prefix, and without ListBucket S3 says 403 where it means 404. To IAM
    # a listing without a prefix looks the same: it shows the names in the run bucket, never what is in them
    return [
        *read_all,
        Statement(("s3:ListBucket",), (run.arn,), below, "lists checkpoints and tells what is missing from what is forbidden"),
        Statement(("s3:GetObject",), (f"{run.arn}/gpuyard/*",), why="fetches the code; reads the record of its run and checkpoints"),
        Statement(
            ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
            (f"{run.arn}/gpuyard/runs/*",),
            why="writes records, checkpoints and results, and drops old checkpoints; targets.json and code are beyond it",
        ),
        *use_keys(reads, write=False),
        *use_keys([run], write=True),
        *_read_secrets(secrets),
    ]


def execution(place: Place, log_group_arn: str, image: str | None) -> list[Statement]:
    """What starts a container: pulls the image and opens its log. `image`: the default one, which may be of another account."""
    return [*pull(place, image), *write_logs([log_group_arn], "the output of the job")]


def sagemaker_job(
    place: Place,
    run: Storage,
    prefix: str,
    *,
    subnet_arns: Sequence[str],
    security_group_arns: Sequence[str],
    model_group_arn: str,
    image: str | None,
) -> list[Statement]:
    """What SageMaker needs besides `job` to run one on machines of its own in the yard's network. `prefix`: of the jobs' names."""
    interfaces = place.arn("ec2", "network-interface/*")
    in_subnets = {"ArnEquals": {"ec2:Subnet": list(subnet_arns)}}
    permit = ("ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission")
    describe = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
    place_in = (interfaces, *subnet_arns, *security_group_arns)
    namespaces = {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
    package = model_group_arn.replace(":model-package-group/", ":model-package/") + "/*"
    register = ("sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage")
    group = place.arn("logs", f"log-group:{TRAINING_JOBS}")
    grant = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    disks = (
        [
            Statement(("kms:CreateGrant",), (run.key_arn,), grant, "encrypts its machines' disks"),
            Statement(("kms:DescribeKey",), (run.key_arn,), why="looks the key up first"),  # a request that carries no grant
        ]
        if run.key_arn
        else []
    )
    return [
        *pull(place, image),
        Statement(("s3:GetBucketLocation",), (run.arn,), why="SageMaker looks up where the bucket is before it copies checkpoints"),
        Statement(("ec2:CreateNetworkInterface",), place_in, why="puts its machines in the yard's subnets and security group"),
        Statement(permit, (interfaces,), in_subnets, "attaches and removes those interfaces"),
        Statement(tuple(f"ec2:Describe{what}" for what in describe), ("*",), why="looks the network up first"),
        Statement(("logs:CreateLogGroup",), (group,), why="makes the group of all training jobs, should this be the account's first"),
        Statement(("logs:DescribeLogStreams",), (group, f"{group}:*"), why="looks for the job's stream"),
        *write_logs([group], "the output of the job", prefix),
        Statement(("cloudwatch:PutMetricData",), ("*",), namespaces, "how busy its machines are"),
        Statement(register, (model_group_arn, package), why="a job registers the model it trained"),
        *disks,
    ]


def use_keys(buckets: Sequence[Storage], *, write: bool) -> list[Statement]:
    """Use of the buckets' keys, through S3 alone."""
    actions = ("kms:Decrypt", "kms:GenerateDataKey") if write else ("kms:Decrypt",)
    by_region: dict[str, set[str]] = {}
    for key in {bucket.key_arn for bucket in buckets if bucket.key_arn}:
        by_region.setdefault(key.split(":")[3], set()).add(key)  # a bucket's key is of the bucket's region
    return [
        Statement(
            actions,
            tuple(sorted(keys)),
            {"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"}},
            "objects are encrypted; the key serves through S3 alone",
        )
        for region, keys in sorted(by_region.items())
    ]


def pull(place: Place, image: str | None) -> list[Statement]:
    """Images: of this account, of AWS's own Deep Learning Containers, and the default one, wherever it is."""
    vendor = f"arn:{place.partition}:ecr:{place.region}:{_VENDOR_IMAGES}:{_VENDOR_REPOSITORY}"
    known = [place.arn("ecr", "repository/*"), vendor, *_repository(place, image)]
    return [
        Statement(("ecr:GetAuthorizationToken",), ("*",), why="logs in to the registry"),
        Statement(_PULL, tuple(dict.fromkeys(known)), why="pulls the job's image"),
    ]


def _repository(place: Place, image: str | None) -> list[str]:
    """The ARN of an image's repository, if it is in ECR: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME@sha256:..."""
    host, _, rest = (image or "").partition("/")
    words = host.split(".")
    if words[1:3] != ["dkr", "ecr"] or not rest:
        return []
    name = rest.partition("@")[0].partition(":")[0]
    return [f"arn:{place.partition}:ecr:{words[3]}:{words[0]}:repository/{name}"]


def _read_secrets(secrets: Sequence[str]) -> list[Statement]:
    if not secrets:
        return []
    return [Statement(("secretsmanager:GetSecretValue",), tuple(sorted(set(secrets))), why="the values of exactly the yard's secrets")]


def write_logs(groups: Sequence[str], why: str, prefix: str = "") -> list[Statement]:
    """Write to log groups; with a `prefix` only to streams that begin so. Without groups: nothing."""
    if not groups:
        return []
    streams = tuple(f"{group}:log-stream:{prefix}*" for group in groups)
    return [Statement(("logs:CreateLogStream", "logs:PutLogEvents"), streams, why=why)]
