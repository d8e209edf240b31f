"""Checks of a stack on AWS: identity, quotas, roles, images, buckets, keys, networks and targets. Each call only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial

from gpuyard.components.planning.document import Need
from gpuyard.components.validation.submitters import ISSUER
from gpuyard.plain_data import PlainDict
from gpuyard.training_jobs.clouds.aws import AwsClients, aws_clients
from gpuyard.training_jobs.clouds.aws_errors import error_code
from gpuyard.training_jobs.errors import GpuyardError
from gpuyard.training_jobs.target import BatchTarget

from .check import Check, StackFacts
from .common import adopted, has_pipelines, images, quotas_to_request, run_checks, targets_check

__all__ = ["checks"]

_MISSING = {"404", "NoSuchEntity", "NoSuchEntityException", "NotFoundException", "ImageNotFoundException", "RepositoryNotFoundException"}
_ECR = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/")
_SPOT_ROLE = "AWSServiceRoleForEC2Spot"
_REOPEN = "repair the cause, then `pulumi up --refresh` opens the pool again (docs/aws.md)"


def checks(facts: StackFacts, aws: AwsClients | None = None) -> Iterator[Check]:
    """Yield every check of the stack. `aws` replaces the clients of the stack's region."""
    region = facts.yard.regions.get("aws")
    if region is None:
        yield Check("region", False, "aws:region is not set", "set it in the stack file")
        return
    yield Check("region", True, region, None)
    clients = aws or aws_clients(region)
    rows: list[tuple[str, Callable[[], Check | None]]] = [
        ("identity", lambda: _identity(facts, clients)),
        *((f"quota {need.code or need.name}", partial(_quota, need, clients)) for need in quotas_to_request(facts, region)),
        ("spot role", lambda: _spot_role(facts, clients)),
        ("submitters", lambda: _oidc_provider(facts, clients)),
        *((f"image {image}", partial(_image, image, clients)) for image in images(facts)),
        *((f"bucket {name}", partial(_bucket, name, clients)) for name in adopted(facts, "existing")),
        *((f"key {arn}", partial(_key, arn, clients)) for arn in adopted(facts, "key_arn")),
        *((f"network {vpc}", partial(_default_group, vpc, clients)) for vpc in _networks_of_containers(facts)),
        *((f"pool {name}", partial(_environment, target, clients)) for name, target in (facts.targets or {}).items()
          if isinstance(target, BatchTarget)),
        *((f"pool {name}", partial(_machine_group, name, facts, clients)) for name in _pools_of_machines(facts)),
        ("targets.json", lambda: targets_check(facts)),
    ]  # fmt: skip
    yield from run_checks(rows)


def _identity(facts: StackFacts, aws: AwsClients) -> Check:
    caller = aws.call("sts", "get_caller_identity", {})
    account, allowed = str(caller["Account"]), json.loads(facts.config.get("aws:allowedAccountIds", "[]"))
    if allowed and account not in allowed:
        fix = "log in to that account (AWS_PROFILE), or change aws:allowedAccountIds"
        return Check("identity", False, f"account {account}, the stack allows {', '.join(map(str, allowed))}", fix)
    return Check("identity", True, f"{caller['Arn']}", None)


def _quota(need: Need, aws: AwsClients) -> Check:
    service = "ec2" if need.code else "sagemaker"
    found = _quota_by_code(need.code, aws) if need.code else _quota_by_name(need.name.partition(": ")[2], aws)
    name = f"quota {need.code or need.name}"
    if found is None:
        return Check(name, False, f"{need.name}: no such quota in this region", f"look for it in Service Quotas, service {service}")
    value, code = found["Value"], found["QuotaCode"]
    detail = f"{need.name}: {value:g} {need.unit}, the pools {', '.join(need.pools)} need {need.amount}"
    if value >= need.amount:
        return Check(name, True, detail, None)
    ask = f"aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code} --desired-value {need.amount}"
    return Check(name, False, detail, ask)


def _quota_by_code(code: str, aws: AwsClients) -> PlainDict | None:
    try:
        return dict(aws.call("service-quotas", "get_service_quota", {"ServiceCode": "ec2", "QuotaCode": code})["Quota"])
    except GpuyardError as error:
        if error_code(error.__cause__) not in {"NoSuchResourceException", *_MISSING}:
            raise
        return None


def _quota_by_name(name: str, aws: AwsClients) -> PlainDict | None:
    body: PlainDict = {"ServiceCode": "sagemaker"}
    while True:
        page = aws.call("service-quotas", "list_service_quotas", body)
        for quota in page["Quotas"]:
            if quota["QuotaName"] == name:
                return dict(quota)
        if not page.get("NextToken"):
            return None
        body["NextToken"] = page["NextToken"]


def _spot_role(facts: StackFacts, aws: AwsClients) -> Check | None:
    """Return whether the account has the role that EC2 needs for spot; None: the yard has no spot machines.

    A new account has no such role. EC2 then refuses spot requests of other services:
    docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
    """
    if not any(pool.spec.mode == "spot" and pool.spec.service != "sagemaker" for pool in facts.yard.pools):
        return None
    if _exists(aws, "iam", "get_role", {"RoleName": _SPOT_ROLE}):
        return Check("spot role", True, _SPOT_ROLE, None)
    return Check(
        "spot role", False, f"the account has no {_SPOT_ROLE}", "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    )


def _oidc_provider(facts: StackFacts, aws: AwsClients) -> Check | None:
    if not has_pipelines(facts):
        return None
    caller = aws.call("sts", "get_caller_identity", {})
    arn = f"arn:{str(caller['Arn']).split(':')[1]}:iam::{caller['Account']}:oidc-provider/{ISSUER}"
    if _exists(aws, "iam", "get_open_id_connect_provider", {"OpenIDConnectProviderArn": arn}):
        return Check("submitters", True, arn, None)
    fix = f"aws iam create-open-id-connect-provider --url https://{ISSUER} --client-id-list sts.amazonaws.com"
    return Check("submitters", False, f"the account has no OIDC provider {ISSUER}", fix)


def _image(image: str, aws: AwsClients) -> Check:
    match = _ECR.match(image)
    if match is None:
        return Check(f"image {image}", True, "not checked: it is not in ECR", None)
    repository, _, digest = image[match.end() :].partition("@")
    body = {"registryId": match["account"], "repositoryName": repository, "imageIds": [{"imageDigest": digest}]}
    if match["region"] != aws.region:
        return Check(f"image {image}", False, f"it is in {match['region']}, the pools are in {aws.region}", "push it to this region")
    if _exists(aws, "ecr", "describe_images", body):
        return Check(f"image {image}", True, "exists", None)
    return Check(f"image {image}", False, "its registry has no such image", "push it, then `gpuyard pin`")


def _bucket(name: str, aws: AwsClients) -> Check:
    if _exists(aws, "s3", "head_bucket", {"Bucket": name}):
        return Check(f"bucket {name}", True, "exists", None)
    return Check(f"bucket {name}", False, "no such bucket", "correct `existing` in gpuyard:buckets")


def _key(arn: str, aws: AwsClients) -> Check:
    state = aws.call("kms", "describe_key", {"KeyId": arn})["KeyMetadata"]["KeyState"]
    return Check(f"key {arn}", state == "Enabled", state, None if state == "Enabled" else f"aws kms enable-key --key-id {arn}")


def _default_group(vpc: str, aws: AwsClients) -> Check:
    """Return whether the default security group lets containers of multi-node jobs reach each other and port 443."""
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    groups = aws.call("ec2", "describe_security_groups", {"Filters": filters})["SecurityGroups"]
    if not groups:
        return Check(f"network {vpc}", False, "no such VPC in this region", "correct `existing` in gpuyard:network")
    group = groups[0]
    among = all(_allows_itself(group[key], group["GroupId"]) for key in ("IpPermissions", "IpPermissionsEgress"))
    if among and any(_allows_https(rule) for rule in group["IpPermissionsEgress"]):
        return Check(f"network {vpc}", True, f"its default group {group['GroupId']} lets containers reach each other", None)
    fix = f"let {group['GroupId']} reach itself on every port in both directions, and port 443 (docs/aws.md, containers of multi-node jobs)"
    return Check(f"network {vpc}", False, "its default security group blocks containers of multi-node jobs on EFA, which are in it", fix)


def _allows_itself(rules: list[PlainDict], group: str) -> bool:
    everywhere = [{"CidrIp": "0.0.0.0/0"}]
    return any(
        rule["IpProtocol"] == "-1"
        and (group in [pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])] or rule.get("IpRanges") == everywhere)
        for rule in rules
    )


def _allows_https(rule: PlainDict) -> bool:
    return rule["IpProtocol"] == "-1" or (rule["IpProtocol"] == "tcp" and bool(rule["FromPort"] <= 443 <= rule["ToPort"]))


def _environment(target: BatchTarget, aws: AwsClients) -> Check:
    from gpuyard.training_jobs.backends.aws_batch.environment import DISABLED, read_reason

    reason = read_reason(aws, target.job_queue)
    if not reason:
        return Check(f"pool {target.pool}", True, "its compute environment is healthy", None)
    return Check(f"pool {target.pool}", False, reason, _REOPEN if DISABLED in reason else "see the reason")


def _machine_group(pool: str, facts: StackFacts, aws: AwsClients) -> Check | None:
    """Return whether the group of a `vms` pool may start machines; None: the stack is not up.

    After too many replacements of broken machines the yard suspends the group's process Launch.
    """
    tags = {"stack": f"{facts.yard.project}/{facts.yard.stack}", "Name": f"{pool}-machines"}
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    groups = aws.call("autoscaling", "describe_auto_scaling_groups", {"Filters": filters})["AutoScalingGroups"]
    if not groups:
        return None
    stopped = [process for group in groups for process in group["SuspendedProcesses"] if process["ProcessName"] == "Launch"]
    if not stopped:
        return Check(f"pool {pool}", True, "its machine group may start machines", None)
    return Check(f"pool {pool}", False, "its machine group starts no machines, because Launch is suspended: too many were broken", _REOPEN)


def _pools_of_machines(facts: StackFacts) -> list[str]:
    return [pool.name for pool in facts.yard.pools if pool.cloud == "aws" and pool.spec.service == "vms"]


def _networks_of_containers(facts: StackFacts) -> list[str]:
    """Return the existing VPCs whose default security group has containers of multi-node jobs on machines with EFA."""
    if not any(
        pool.spec.service == "batch" and pool.spec.max_nodes > 1 and pool.machine and pool.machine.fast_nics for pool in facts.yard.pools
    ):
        return []
    existing = (component.inputs.get("existing") for component in facts.yard.named("Network"))
    ids = (network.get("vpc_id") for network in existing if isinstance(network, dict))
    return sorted({vpc for vpc in ids if isinstance(vpc, str)})


def _exists(aws: AwsClients, service: str, operation: str, body: PlainDict) -> bool:
    try:
        aws.call(service, operation, body)
    except GpuyardError as error:
        if error_code(error.__cause__) in _MISSING:
            return False
        raise
    return True
