"""How AWS forms ids, ARNs and names, which properties force a replacement, and the results of look-ups. Tables by type token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.pulumi_provider.aws_refusals import change_refusals, refusals
from tests.fakes.pulumi_provider.resource_rules import ResourceRules, digits

ACCOUNT, REGION, PARTITION = "123456789012", "us-east-1", "aws"
_ARN_OF_HERE = "arn:aws:{service}:us-east-1:123456789012:{rest}"

# Token -> prefix of an id that AWS generates. For other types the id is the name or the ARN.
GENERATED_ID_PREFIX = {
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": "sg-",
    "aws:ec2/eip:Eip": "eipalloc-",
    "aws:ec2/flowLog:FlowLog": "fl-",
    "aws:ec2/internetGateway:InternetGateway": "igw-",
    "aws:ec2/launchTemplate:LaunchTemplate": "lt-",
    "aws:ec2/natGateway:NatGateway": "nat-",
    "aws:ec2/networkAcl:NetworkAcl": "acl-",
    "aws:ec2/placementGroup:PlacementGroup": "pg-",
    "aws:ec2/routeTable:RouteTable": "rtb-",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "rtbassoc-",
    "aws:ec2/securityGroup:SecurityGroup": "sg-",
    "aws:ec2/subnet:Subnet": "subnet-",
    "aws:ec2/vpc:Vpc": "vpc-",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "vpce-",
    "aws:kms/key:Key": "",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "sgr-",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "sgr-",
}
# Token -> the rest of its ARN. For types in ID_IS_ARN the ARN is the id.
_ARNS = {
    "aws:autoscaling/group:Group": "autoscaling:{region}:{account}:autoScalingGroup:{uuid}:autoScalingGroupName/{name}",
    "aws:batch/computeEnvironment:ComputeEnvironment": "batch:{region}:{account}:compute-environment/{name}",
    "aws:batch/jobDefinition:JobDefinition": "batch:{region}:{account}:job-definition/{name}:1",
    "aws:batch/schedulingPolicy:SchedulingPolicy": "batch:{region}:{account}:scheduling-policy/{name}",
    "aws:batch/jobQueue:JobQueue": "batch:{region}:{account}:job-queue/{name}",
    "aws:cloudwatch/eventRule:EventRule": "events:{region}:{account}:rule/{name}",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "aws:ecr/repository:Repository": "ecr:{region}:{account}:repository/{name}",
    "aws:sfn/stateMachine:StateMachine": "states:{region}:{account}:stateMachine:{name}",
    "aws:cloudwatch/logGroup:LogGroup": "logs:{region}:{account}:log-group:{name}",
    "aws:iam/instanceProfile:InstanceProfile": "iam::{account}:instance-profile/{name}",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": "iam::{account}:oidc-provider/{host}",
    "aws:iam/policy:Policy": "iam::{account}:policy/{name}",
    "aws:iam/role:Role": "iam::{account}:role/{name}",
    "aws:kms/key:Key": "kms:{region}:{account}:key/{id}",
    "aws:s3/bucket:Bucket": "s3:::{name}",
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": "sagemaker:{region}:{account}:model-package-group/{name}",
    "aws:scheduler/schedule:Schedule": "scheduler:{region}:{account}:schedule/default/{name}",
    "aws:sns/topic:Topic": "sns:{region}:{account}:{name}",
}
ID_IS_ARN = {
    "aws:batch/jobDefinition:JobDefinition",
    "aws:batch/jobQueue:JobQueue",
    "aws:batch/schedulingPolicy:SchedulingPolicy",
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
    "aws:iam/policy:Policy",
    "aws:sfn/stateMachine:StateMachine",
    "aws:sns/topic:Topic",
}
# The property that holds a resource's name where it is not `name`. None: the provider generates no name.
NAME_OF = {
    "aws:s3/bucket:Bucket": "bucket",
    "aws:kms/alias:Alias": "name",
    "aws:s3/bucketObjectv2:BucketObjectv2": "key",
}
# Properties whose change replaces the resource. `*` applies to every type, in addition to the type's own row.
_FIXED: Mapping[str, frozenset[str]] = {
    "*": frozenset({"name", "namePrefix", "bucket", "region", "vpcId"}),
    "aws:autoscaling/schedule:Schedule": frozenset({"autoscalingGroupName", "scheduledActionName"}),
    "aws:batch/jobQueue:JobQueue": frozenset(),
    "aws:batch/computeEnvironment:ComputeEnvironment": frozenset({"type"}),
    "aws:ec2/eip:Eip": frozenset({"domain"}),
    "aws:ec2/flowLog:FlowLog": frozenset({"logDestination", "logDestinationType", "trafficType", "maxAggregationInterval", "iamRoleArn"}),
    "aws:ec2/natGateway:NatGateway": frozenset({"allocationId", "subnetId", "connectivityType"}),
    "aws:ec2/placementGroup:PlacementGroup": frozenset({"strategy"}),
    "aws:ec2/route:Route": frozenset({"routeTableId", "destinationCidrBlock"}),
    "aws:ec2/securityGroup:SecurityGroup": frozenset({"description"}),
    "aws:ec2/subnet:Subnet": frozenset({"availabilityZone", "cidrBlock"}),
    "aws:ec2/vpc:Vpc": frozenset({"cidrBlock"}),
    "aws:ec2/vpcEndpoint:VpcEndpoint": frozenset({"serviceName", "vpcEndpointType"}),
    "aws:iam/role:Role": frozenset({"path"}),
    "aws:iam/rolePolicy:RolePolicy": frozenset({"role"}),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": frozenset({"role", "policyArn"}),
    "aws:s3/bucketObjectv2:BucketObjectv2": frozenset({"key"}),
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": frozenset({"modelPackageGroupName"}),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": frozenset({"securityGroupId"}),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": frozenset({"securityGroupId"}),
}
# Outputs that every in-place change renews, so that a preview does not know them.
RENEWED = {"aws:ec2/launchTemplate:LaunchTemplate": ("latestVersion",), "aws:s3/bucketObjectv2:BucketObjectv2": ("etag", "versionId")}

_IMAGE = "ami-0123456789abcdef0"
LOOK_UPS: Mapping[str, Mapping[str, Any]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": {
        "accountId": ACCOUNT,
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/me",
        "id": ACCOUNT,
        "userId": "AROAEXAMPLE:me",
    },
    "aws:index/getPartition:getPartition": {
        "dnsSuffix": "amazonaws.com",
        "id": PARTITION,
        "partition": PARTITION,
        "reverseDnsPrefix": "com.amazonaws",
    },
    "aws:index/getRegion:getRegion": {
        "description": "US East (N. Virginia)",
        "endpoint": "ec2.us-east-1.amazonaws.com",
        "id": REGION,
        "name": REGION,
        "region": REGION,
    },
    "aws:ssm/getParameter:getParameter": {
        "arn": _ARN_OF_HERE.format(service="ssm", rest="parameter/image"),
        "id": "image",
        "insecureValue": _IMAGE,
        "type": "String",
        "value": _IMAGE,
        "version": 1,
    },
    "aws:ec2/getPrefixList:getPrefixList": {"id": "pl-63a5400a", "cidrBlocks": ["198.51.100.0/24"]},
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": {
        "arn": _ARN_OF_HERE.format(service="ec2", rest="prefix-list/pl-63a5400a"),
        "id": "pl-63a5400a",
        "addressFamily": "IPv4",
        "entries": [],
        "maxEntries": 0,
        "ownerId": "AWS",
        "tags": {},
        "version": 1,
    },
    "aws:ec2/getAmi:getAmi": {"id": _IMAGE, "imageId": _IMAGE, "rootDeviceName": "/dev/xvda"},
}


def _made(token: str, urn: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    name = str(inputs.get(NAME_OF.get(token, "name")) or inputs.get("modelPackageGroupName") or urn.rpartition("::")[2])
    generated = digits(urn, repr(sorted(inputs.items(), key=lambda item: item[0])))
    made_id = name
    if token in GENERATED_ID_PREFIX:
        made_id = (
            GENERATED_ID_PREFIX[token] + generated
            if GENERATED_ID_PREFIX[token]
            else f"{generated[:8]}-{generated[8:12]}-4{generated[12:15]}-8000-{generated[:12]}"
        )
    words = {
        "region": REGION,
        "account": ACCOUNT,
        "name": name,
        "id": made_id,
        "uuid": generated,
        "host": str(inputs.get("url", "")).removeprefix("https://"),
    }
    service, _, rest = token.removeprefix("aws:").partition("/")
    default = "{service}:{region}:{account}:{kind}/{id}"
    tail = _ARNS.get(token, default).format(**words, service=service, kind=_dashed(rest.partition(":")[0]))
    arn = f"arn:{PARTITION}:{tail}"
    more = {}
    if token == "aws:batch/computeEnvironment:ComputeEnvironment":  # every example of Batch's pages has this form
        more["ecsClusterArn"] = _ARN_OF_HERE.format(service="ecs", rest=f"cluster/AWSBatch-{name}-{generated[:8]}")
    return arn if token in ID_IS_ARN else made_id, {"arn": arn, **more}


def _computed(name: str, made_id: str) -> Any:
    if name == "region":
        return REGION
    return ACCOUNT if name.lower().endswith("ownerid") else made_id if name == "keyId" else None


def _name(token: str, label: str, generated: str) -> str:
    return {"key": label, "bucket": generated.lower()}.get(NAME_OF.get(token, ""), generated)


def _dashed(camel: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in camel)


SHAPES = ResourceRules(
    look_ups=LOOK_UPS,
    fixed=_FIXED,
    renewed=RENEWED,
    named_by=NAME_OF,
    made=_made,
    held=frozenset(GENERATED_ID_PREFIX),
    computed=_computed,
    name=_name,
    all_tags="tagsAll",
    refusals=refusals,
    change_refusals=change_refusals,
)
