"""Build the request CreateTrainingJob of a submission. Pure functions.

Only a pool with `network_isolation: true` has network isolation, because isolated containers cannot reach S3, secrets and
checkpoints. Without network isolation, the VPC isolates jobs: the target's subnets, a security group that admits only itself, and the job's
narrow role. With `network_isolation: true`, SageMaker downloads the code and the run record as input channels, and uploads the nodes' files
at the end of the job.
"""

from __future__ import annotations

import base64
import re
import zlib

from ....problems import Problem
from ...clouds import Json
from ...data_entries import data_urls
from ...errors import UsageError
from ...run import Run
from ...target import SageMakerTarget
from ..base import container_image, prefixed_job_name, read_bootstrap, run_variables
from ..labels import aws_tags

__all__ = ["job_name", "request_body"]

_LONGEST_NAME = 63
_LONGEST_ARGUMENT = 256  # characters of one container argument
_LONGEST_S = 28 * 86400  # a training job's longest run, and its longest wait and run together
_SHORTEST_PENDING_S = 1800
_DISK_GIB = 200
_GRACE_S = 110
"""Seconds for workers to save and exit. SageMaker sends SIGKILL 120 s after SIGTERM; 10 s remain to upload the result."""
_LOADER = 'import base64,sys,zlib;exec(zlib.decompress(base64.b64decode("".join(sys.argv[1:]))))'
_ECR = re.compile(r"^[0-9]{12}\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/")
# Machines with local disks that their hardware encrypts: SageMaker refuses a volume key (CreateTrainingJob, VolumeKmsKeyId).
_LOCAL_DISKS = re.compile(r"^ml\.(g4dn|g5|g6e?|g7e?|p3dn|p4de?|p5(en?)?|p6.*|trn.*|r5d)\.")


def job_name(run: Run, target: SageMakerTarget) -> str:
    """Return the training job's name. It is deterministic, so that the job can be found after a crash."""
    return prefixed_job_name(run, target.job_prefix, _LONGEST_NAME)


def request_body(run: Run, target: SageMakerTarget) -> Json:
    """Return the body of CreateTrainingJob. Raises UsageError that lists why SageMaker cannot run the job."""
    image = container_image(run)
    _check(run, target, image)
    body: Json = {
        "TrainingJobName": job_name(run, target),
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "-c", _LOADER],
            "ContainerArguments": _bootstrap_arguments(),
        },
        "RoleArn": target.role,
        "OutputDataConfig": {
            "S3OutputPath": f"{run.url}/output/sagemaker" if target.network_isolation else f"{run.url}/sagemaker",
            **_key("KmsKeyId", target.encryption_key),
        },
        "ResourceConfig": {
            "InstanceType": target.instance_type,
            "InstanceCount": run.spec.nodes,
            "VolumeSizeInGB": _DISK_GIB,
            **({"KeepAlivePeriodInSeconds": target.keep_alive_s} if target.keep_alive_s else {}),
            **_key("VolumeKmsKeyId", None if _LOCAL_DISKS.match(target.instance_type) else target.encryption_key),
        },
        "VpcConfig": {"Subnets": target.subnet_ids, "SecurityGroupIds": target.security_group_ids},
        "StoppingCondition": _stopping_condition(run, target),
        "EnableNetworkIsolation": target.network_isolation,
        "EnableInterContainerTrafficEncryption": target.encrypt_between_nodes and run.spec.nodes > 1,
        "EnableManagedSpotTraining": target.spot,
        "Environment": _environment(run, target),
        "Tags": [{"Key": key, "Value": value} for key, value in sorted(aws_tags(run).items())],
    }
    if target.network_isolation:
        body["InputDataConfig"] = [_channel("code", run.code.url), _channel("record", run.record_url)]
    if target.spot:  # for scripts that write there; gpuyard's own checkpoints go straight to the run's folder
        body["CheckpointConfig"] = {"S3Uri": f"{run.url}/sagemaker-checkpoints", "LocalPath": "/opt/ml/checkpoints"}
    if run.retries.infra:  # SageMaker retries after its own internal errors, without a new submission
        body["RetryStrategy"] = {"MaximumRetryAttempts": min(run.retries.infra, 30)}
    return body


def _check(run: Run, target: SageMakerTarget, image: str) -> None:
    problems = _pool_problems(run, target)
    if not _ECR.match(image) or len(image) > 255:
        problem, fix = "SageMaker pulls images only from ECR, with names of at most 255 characters", "push the image to ECR"
        problems.append(Problem("image", problem, image, "<account>.dkr.ecr.<region>.amazonaws.com/<name>@sha256:<digest>", fix))
    if run.limit_s > _LONGEST_S:
        problems.append(Problem("timeout", "longer than SageMaker allows", f"{run.limit_s / 86400:.1f}d", "<= 28d"))
    too_long = [name for name, value in _environment(run, target).items() if len(value) > 512]
    problems += [Problem(name, "too long for SageMaker", allowed="512 characters", fix="shorten the run bucket's URL") for name in too_long]
    if problems:
        raise UsageError(f"job '{run.spec.name}' cannot run on SageMaker", problems)


def _pool_problems(run: Run, target: SageMakerTarget) -> list[Problem]:
    """Return problems of the pool, and job settings that network isolation forbids."""
    problems = []
    if target.keep_alive_s and target.spot:
        problems.append(Problem("pool", "SageMaker keeps no spot machines warm", fix="remove keep_alive_minutes, or capacity: spot"))
    if not target.network_isolation:
        return problems
    problem, fix = "cannot be read, because the pool's containers have no network", "choose a pool without network_isolation"
    if run.spec.secrets:
        problems.append(Problem("secrets", problem, ", ".join(run.spec.secrets), "none", fix))
    remote = [name for name, url in data_urls(run.spec.data).items() if not url.startswith("file://")]
    if remote:
        problems.append(Problem("data", problem, ", ".join(remote), "file:// URLs of files in the image", fix))
    return problems


def _channel(name: str, url: str) -> Json:
    """Return an input channel for one object. SageMaker copies it to every host before the container starts."""
    source = {"S3DataType": "S3Prefix", "S3Uri": url, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def _stopping_condition(run: Run, target: SageMakerTarget) -> dict[str, int]:
    """Return SageMaker's limits of the run time and the wait. Its shortest wait is 30 minutes; gpuyard itself enforces shorter waits."""
    queue_timeout = run.spec.queue_timeout
    found = {"MaxRuntimeInSeconds": run.limit_s}
    if target.spot:
        found["MaxWaitTimeInSeconds"] = min(_LONGEST_S, run.limit_s + (_LONGEST_S if queue_timeout is None else queue_timeout))
    elif queue_timeout is not None:
        found["MaxPendingTimeInSeconds"] = min(max(queue_timeout, _SHORTEST_PENDING_S), _LONGEST_S)
    return found


def _environment(run: Run, target: SageMakerTarget) -> dict[str, str]:
    return {
        "AWS_DEFAULT_REGION": target.region,
        "GPUYARD_SERVICE": "sagemaker",
        **run_variables(run),
        "GPUYARD_GRACE_S": str(_GRACE_S),
        "GPUYARD_LIMIT_REASON": run.limit_reason,
        **(_isolated_paths(run) if target.network_isolation else {}),
    }


def _isolated_paths(run: Run) -> dict[str, str]:
    """Return the paths of code, run record and results in a container without network."""
    return {
        "GPUYARD_CODE_URL": f"file:///opt/ml/input/data/code/{run.code.url.rsplit('/', 1)[-1]}",
        "GPUYARD_RECORD_URL": "file:///opt/ml/input/data/record/run.json",
        "GPUYARD_LEFT_URL": "file:///opt/ml/output/data",
    }


def _bootstrap_arguments() -> list[str]:
    """Pack bootstrap.py and split it into container arguments, whose length SageMaker limits. The loader joins them."""
    packed = base64.b64encode(zlib.compress(read_bootstrap().encode(), 9)).decode()
    return [packed[start : start + _LONGEST_ARGUMENT] for start in range(0, len(packed), _LONGEST_ARGUMENT)]


def _key(name: str, key: str | None) -> dict[str, str]:
    return {} if key is None else {name: key}
