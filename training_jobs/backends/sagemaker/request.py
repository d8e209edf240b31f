"""The exact CreateTrainingJob of a submission. Pure.

Network isolation is off unless the pool asks for it: it cuts the container off from S3, from the secrets and from the checkpoint.
The boundary is the VPC: the target's subnets, its security group that admits only itself, and the job's own narrow role. A pool
with isolation takes the jobs that need none of these; code and record then come as input channels, which SageMaker itself
downloads, and what the nodes leave goes to S3 as SageMaker's own output, at the end.
"""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

from ....problems import Problem
from ...clouds.aws import tags_of
from ...errors import UsageError
from ...run import Run
from ...target import SageMakerTarget
from ..base import container_image, prefixed_job_name, read_bootstrap, run_variables

_NAME = 63  # characters of a training job's name
_ARGUMENT = 256  # characters of one container argument
_LONGEST_S = 28 * 86400  # that a training job may run, or wait and run
_SHORTEST_PENDING_S = 1800
_DISK_GIB = 200
_GRACE_S = 110
"""Of the 120 s between SageMaker's SIGTERM and the end; the rest is for the upload of the last words."""
_LOADER = 'import base64,sys,zlib;exec(zlib.decompress(base64.b64decode("".join(sys.argv[1:]))))'
_ECR = re.compile(r"^[0-9]{12}\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/")
# Machines with disks of their own, which their hardware encrypts: a key for the volume is refused (CreateTrainingJob, VolumeKmsKeyId).
_OWN_DISKS = re.compile(r"^ml\.(g4dn|g5|g6e?|g7e?|p3dn|p4de?|p5(en?)?|p6.*|trn.*|r5d)\.")


def name_of(run: Run, target: SageMakerTarget) -> str:
    """The training job's name: the stack's prefix, the run and the submission; a long job name is cut, its digest is not."""
    return prefixed_job_name(run, target.job_prefix, _NAME)


def body_of(run: Run, target: SageMakerTarget) -> dict[str, Any]:
    """The body. Raises UsageError for what SageMaker cannot do, every problem at once."""
    image = container_image(run)
    _check(run, target, image)
    body: dict[str, Any] = {
        "TrainingJobName": name_of(run, target),
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
            **_key("VolumeKmsKeyId", None if _OWN_DISKS.match(target.instance_type) else target.encryption_key),
        },
        "VpcConfig": {"Subnets": target.subnet_ids, "SecurityGroupIds": target.security_group_ids},
        "StoppingCondition": _stopping(run, target),
        "EnableNetworkIsolation": target.network_isolation,
        "EnableInterContainerTrafficEncryption": run.spec.nodes > 1,
        "EnableManagedSpotTraining": target.spot,
        "Environment": _environment(run, target),
        "Tags": [{"Key": key, "Value": value} for key, value in sorted(tags_of(run).items())],
    }
    if target.network_isolation:
        body["InputDataConfig"] = [_channel("code", run.code.url), _channel("record", f"{run.url}/run.json")]
    if target.spot:  # for scripts that write there; gpuyard's own checkpoints go straight to the run's folder
        body["CheckpointConfig"] = {"S3Uri": f"{run.url}/sagemaker-checkpoints", "LocalPath": "/opt/ml/checkpoints"}
    if run.retries.infra:  # SageMaker's own internal errors, without a new submission
        body["RetryStrategy"] = {"MaximumRetryAttempts": min(run.retries.infra, 30)}
    return body


def _check(run: Run, target: SageMakerTarget, image: str) -> None:
    problems = _isolation_problems(run, target)
    if not _ECR.match(image) or len(image) > 255:
        what, fix = "SageMaker pulls from ECR alone, 255 characters at most", "push it to a repository of the account and name that"
        problems.append(Problem("image", what, image, "<account>.dkr.ecr.<region>.amazonaws.com/<name>@sha256:<digest>", fix))
    if run.limit_s > _LONGEST_S:
        problems.append(Problem("timeout", "SageMaker runs no job longer", f"{run.limit_s / 86400:.1f}d", "<= 28d"))
    too_long = [name for name, value in _environment(run, target).items() if len(value) > 512]
    problems += [Problem(name, "too long for SageMaker", allowed="512 characters", fix="shorten the run bucket's URL") for name in too_long]
    if problems:
        raise UsageError(f"job '{run.spec.name}' cannot run on SageMaker", problems)


def _isolation_problems(run: Run, target: SageMakerTarget) -> list[Problem]:
    """What a job cannot have where its containers reach nothing, and what a pool cannot be."""
    problems = []
    if target.keep_alive_s and target.spot:
        problems.append(Problem("pool", "SageMaker keeps no spot machines warm", fix="remove keep_alive_minutes, or capacity: spot"))
    if not target.network_isolation:
        return problems
    fix = "choose a pool without network_isolation"
    if run.spec.secrets:
        what = "cannot be read: the pool's containers reach no network"
        problems.append(Problem("secrets", what, ", ".join(run.spec.secrets), "none", fix))
    remote = [name for name, url in run.spec.data.items() if not url.startswith("file://")]
    if remote:
        what = "cannot be read: the pool's containers reach no network"
        problems.append(Problem("data", what, ", ".join(remote), "file:// URLs of what the image holds", fix))
    return problems


def _channel(name: str, url: str) -> dict[str, Any]:
    """One object, copied to every host before its container starts."""
    source = {"S3DataType": "S3Prefix", "S3Uri": url, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def _stopping(run: Run, target: SageMakerTarget) -> dict[str, int]:
    """How long it may run, and how long wait: SageMaker takes no wait under 30 minutes, a shorter one is the runner's to keep."""
    patience = run.spec.queue_timeout
    found = {"MaxRuntimeInSeconds": run.limit_s}
    if target.spot:
        found["MaxWaitTimeInSeconds"] = min(_LONGEST_S, run.limit_s + (_LONGEST_S if patience is None else patience))
    elif patience is not None:
        found["MaxPendingTimeInSeconds"] = min(max(patience, _SHORTEST_PENDING_S), _LONGEST_S)
    return found


def _environment(run: Run, target: Any) -> dict[str, str]:
    return {
        "AWS_DEFAULT_REGION": target.region,
        "GPUYARD_SERVICE": "sagemaker",
        **run_variables(run),
        "GPUYARD_GRACE_S": str(_GRACE_S),
        "GPUYARD_LIMIT_REASON": run.limit_reason,
        **(_inside(run) if target.network_isolation else {}),
    }


def _inside(run: Run) -> dict[str, str]:
    """Where a container that reaches nothing finds its code and its record, and leaves what it has to say."""
    return {
        "GPUYARD_CODE_URL": f"file:///opt/ml/input/data/code/{run.code.url.rsplit('/', 1)[-1]}",
        "GPUYARD_RECORD_URL": "file:///opt/ml/input/data/record/run.json",
        "GPUYARD_LEFT_URL": "file:///opt/ml/output/data",
    }


def _bootstrap_arguments() -> list[str]:
    """The bootstrap as arguments of the length that SageMaker takes, for the loader to put together again."""
    packed = base64.b64encode(zlib.compress(read_bootstrap().encode(), 9)).decode()
    return [packed[start : start + _ARGUMENT] for start in range(0, len(packed), _ARGUMENT)]


def _key(name: str, key: str | None) -> dict[str, str]:
    return {} if key is None else {name: key}
