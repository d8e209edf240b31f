"""A table: the AWS API operations that create a resource of each type, and the properties whose names differ in the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.helpers.aws_api_requests import Call, Inputs


def _attribute(member: str) -> Any:
    def wrapped(inputs: Inputs, made_id: str) -> Inputs:
        return {"vpcId": made_id, member: {"value": next(iter(inputs.values()))}}

    return wrapped


def _rule(inputs: Inputs, _: str) -> Inputs:
    spelled = {"description": inputs["description"]} if "description" in inputs else {}
    permission = {key: inputs[key] for key in ("ipProtocol", "fromPort", "toPort") if key in inputs}
    if "referencedSecurityGroupId" in inputs:
        permission["userIdGroupPairs"] = [{"groupId": inputs["referencedSecurityGroupId"], **spelled}]
    if "cidrIpv4" in inputs:
        permission["ipRanges"] = [{"cidrIp": inputs["cidrIpv4"], **spelled}]
    if "prefixListId" in inputs:
        permission["prefixListIds"] = [{"prefixListId": inputs["prefixListId"], **spelled}]
    return {"groupId": inputs["securityGroupId"], "ipPermissions": [permission], **({"tags": inputs["tags"]} if "tags" in inputs else {})}


def _flow_log(inputs: Inputs, _: str) -> Inputs:
    rest = {key: value for key, value in inputs.items() if key != "vpcId"}
    return {**rest, "resourceIds": [inputs["vpcId"]], "resourceType": "VPC"}


def _group(inputs: Inputs, _: str) -> Inputs:
    zones = {"vpcZoneIdentifier": ",".join(inputs["vpcZoneIdentifiers"])} if "vpcZoneIdentifiers" in inputs else {}
    return {**{key: value for key, value in inputs.items() if key != "vpcZoneIdentifiers"}, **zones}


def _budget(inputs: Inputs, _: str) -> Inputs:
    amount = {"budgetLimit": {"amount": inputs["limitAmount"], "unit": inputs["limitUnit"]}}
    filters = {"costFilters": {each["name"]: each["values"] for each in inputs.get("costFilters", [])}}
    plain = {key: inputs[key] for key in ("name", "budgetType", "timeUnit") if key in inputs}
    alerts = []
    for alert in inputs.get("notifications", []):
        mails = [{"subscriptionType": "EMAIL", "address": mail} for mail in alert.get("subscriberEmailAddresses", [])]
        topics = [{"subscriptionType": "SNS", "address": topic} for topic in alert.get("subscriberSnsTopicArns", [])]
        spelled = {key: value for key, value in alert.items() if not key.startswith("subscriber")}
        alerts.append({"notification": spelled, "subscribers": [*mails, *topics]})
    return {"accountId": "123456789012", "budget": {**plain, **amount, **filters}, "notificationsWithSubscribers": alerts}


def _ownership(inputs: Inputs, _: str) -> Inputs:
    return {"bucket": inputs["bucket"], "ownershipControls": {"rules": [inputs["rule"]]}}


def _tagging(inputs: Inputs, made_id: str) -> Inputs:
    return {"bucket": made_id, "tagging": {"tagSet": inputs["tags"]}}


def _of(key: str) -> Any:
    """Return a function of (inputs, id) that adds the resource's id to the inputs, under `key`."""
    return lambda inputs, made_id: {key: made_id, **inputs}


def _alarm(inputs: Inputs, _: str) -> Inputs:
    return {**inputs, "dimensions": [{"name": name, "value": value} for name, value in inputs["dimensions"].items()]}


def _target(inputs: Inputs, made_id: str) -> Inputs:
    """Return a rule's target. The provider generates its id."""
    return {"rule": inputs["rule"], "targets": [{"id": made_id, **{key: value for key, value in inputs.items() if key != "rule"}}]}


def _topic_policy(inputs: Inputs, _: str) -> Inputs:
    return {"topicArn": inputs["arn"], "attributeName": "Policy", "attributeValue": inputs["policy"]}


def _repository(inputs: Inputs, _: str) -> Inputs:
    [encryption] = inputs["encryptionConfigurations"]
    return {**{key: value for key, value in inputs.items() if key != "encryptionConfigurations"}, "encryptionConfiguration": encryption}


def _default_group(inputs: Inputs, _: str) -> Inputs:
    """Return the filters that find the default security group of a VPC."""
    named = {"vpc-id": inputs["vpcId"], "group-name": "default"}
    return {"filters": [{"name": name, "values": [value]} for name, value in named.items()]}


_S3 = "aws:s3/bucket"
# Properties that exist in Terraform only and are sent to no API, by type.
OURS: Mapping[str, frozenset[str]] = {
    "aws:autoscaling/group:Group": frozenset({"waitForCapacityTimeout", "forceDelete", "protectFromScaleIn"}),
    "aws:cloudwatch/logGroup:LogGroup": frozenset({"skipDestroy"}),
    "aws:ecr/repository:Repository": frozenset({"forceDelete"}),
    "aws:ec2/launchTemplate:LaunchTemplate": frozenset({"updateDefaultVersion"}),
    "aws:ec2/subnet:Subnet": frozenset({"mapPublicIpOnLaunch"}),  # ModifySubnetAttribute; false is a new subnet's default
    "aws:ec2/securityGroup:SecurityGroup": frozenset({"revokeRulesOnDelete"}),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": frozenset(
        {"vpcId", "ingress", "egress", "tags"}
    ),  # the provider revokes the rules
    "aws:iam/role:Role": frozenset({"forceDetachPolicies"}),
    "aws:s3/bucket:Bucket": frozenset({"forceDestroy"}),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": frozenset({"skipDestroy"}),
}
CALLS: Mapping[str, tuple[Call, ...]] = {
    "aws:autoscaling/group:Group": (
        Call("autoscaling", "CreateAutoScalingGroup", names={"name": "AutoScalingGroupName", "id": "LaunchTemplateId"}, first=_group),
        Call(
            "autoscaling",
            "SuspendProcesses",
            ("suspendedProcesses",),
            {"suspendedProcesses": "ScalingProcesses"},
            first=_of("autoScalingGroupName"),
        ),
        Call(
            "autoscaling",
            "EnableMetricsCollection",
            ("enabledMetrics",),
            {"enabledMetrics": "Metrics"},
            first=lambda inputs, made_id: {"autoScalingGroupName": made_id, "granularity": "1Minute", **inputs},
        ),
    ),
    "aws:autoscaling/schedule:Schedule": (
        Call("autoscaling", "PutScheduledUpdateGroupAction", names={"autoscalingGroupName": "AutoScalingGroupName"}),
    ),
    "aws:batch/computeEnvironment:ComputeEnvironment": (
        Call("batch", "CreateComputeEnvironment", names={"name": "computeEnvironmentName"}, result="computeEnvironmentName"),
        Call("batch", "UpdateComputeEnvironment", ("updatePolicy",), first=_of("computeEnvironment")),
    ),
    "aws:batch/jobDefinition:JobDefinition": (Call("batch", "RegisterJobDefinition", names={"name": "jobDefinitionName"}),),
    "aws:batch/schedulingPolicy:SchedulingPolicy": (
        Call("batch", "CreateSchedulingPolicy", names={"fairSharePolicy": "fairsharePolicy"}, result="arn"),
    ),
    "aws:batch/jobQueue:JobQueue": (
        Call(
            "batch",
            "CreateJobQueue",
            names={"name": "jobQueueName", "computeEnvironmentOrders": "computeEnvironmentOrder"},
            result="jobQueueArn",
        ),
    ),
    "aws:budgets/budget:Budget": (Call("budgets", "CreateBudget", names={"name": "BudgetName"}, first=_budget),),
    "aws:cloudwatch/eventRule:EventRule": (Call("events", "PutRule"),),
    "aws:cloudwatch/eventTarget:EventTarget": (Call("events", "PutTargets", names={"inputPaths": "InputPathsMap"}, first=_target),),
    "aws:cloudwatch/metricAlarm:MetricAlarm": (Call("cloudwatch", "PutMetricAlarm", names={"name": "AlarmName"}, first=_alarm),),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": (
        Call("ecr", "PutLifecyclePolicy", names={"repository": "repositoryName", "policy": "lifecyclePolicyText"}),
    ),
    "aws:ecr/repository:Repository": (Call("ecr", "CreateRepository", names={"name": "repositoryName"}, first=_repository),),
    "aws:cloudwatch/logGroup:LogGroup": (
        Call("logs", "CreateLogGroup", names={"name": "logGroupName"}),
        Call("logs", "PutRetentionPolicy", ("retentionInDays",), first=_of("logGroupName")),
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": (  # AWS makes it with the VPC; the provider looks it up
        Call("ec2", "DescribeSecurityGroups", ("vpcId",), first=_default_group, result="SecurityGroups[0].GroupId"),
    ),
    "aws:ec2/eip:Eip": (Call("ec2", "AllocateAddress", tagged="elastic-ip", result="AllocationId"),),
    "aws:ec2/flowLog:FlowLog": (
        Call(
            "ec2",
            "CreateFlowLogs",
            names={"iamRoleArn": "DeliverLogsPermissionArn"},
            tagged="vpc-flow-log",
            first=_flow_log,
            result="FlowLogIds[0]",
        ),
    ),
    "aws:ec2/internetGateway:InternetGateway": (
        Call("ec2", "CreateInternetGateway", tagged="internet-gateway", result="InternetGateway.InternetGatewayId"),
        Call("ec2", "AttachInternetGateway", ("vpcId",), first=_of("internetGatewayId")),
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": (
        Call(
            "ec2",
            "CreateLaunchTemplate",
            names={
                "name": "LaunchTemplateName",
                "securityGroups": "Groups",
                "description": "VersionDescription",
                "vpcSecurityGroupIds": "SecurityGroupIds",
            },
            under="LaunchTemplateData",
            beside=("name", "tagSpecification", "description"),
            result="LaunchTemplate.LaunchTemplateId",
        ),
        Call("ec2", "CreateTags", ("tags",), first=lambda inputs, made_id: {"resources": [made_id], **inputs}),
    ),
    "aws:ec2/natGateway:NatGateway": (Call("ec2", "CreateNatGateway", tagged="natgateway", result="NatGateway.NatGatewayId"),),
    "aws:ec2/placementGroup:PlacementGroup": (
        Call("ec2", "CreatePlacementGroup", names={"name": "GroupName"}, tagged="placement-group", result="PlacementGroup.GroupName"),
    ),
    "aws:ec2/route:Route": (Call("ec2", "CreateRoute"),),
    "aws:ec2/routeTable:RouteTable": (Call("ec2", "CreateRouteTable", tagged="route-table", result="RouteTable.RouteTableId"),),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": (Call("ec2", "AssociateRouteTable", result="AssociationId"),),
    "aws:ec2/securityGroup:SecurityGroup": (
        Call("ec2", "CreateSecurityGroup", names={"name": "GroupName"}, tagged="security-group", result="GroupId"),
    ),
    "aws:ec2/subnet:Subnet": (Call("ec2", "CreateSubnet", tagged="subnet", result="Subnet.SubnetId"),),
    "aws:ec2/vpc:Vpc": (
        Call("ec2", "CreateVpc", tagged="vpc", result="Vpc.VpcId"),
        Call("ec2", "ModifyVpcAttribute", ("enableDnsSupport",), first=_attribute("enableDnsSupport")),
        Call("ec2", "ModifyVpcAttribute", ("enableDnsHostnames",), first=_attribute("enableDnsHostnames")),
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": (
        Call("ec2", "CreateVpcEndpoint", names={"policy": "PolicyDocument"}, tagged="vpc-endpoint", result="VpcEndpoint.VpcEndpointId"),
    ),
    "aws:iam/instanceProfile:InstanceProfile": (
        Call("iam", "CreateInstanceProfile", names={"name": "InstanceProfileName"}, result="InstanceProfile.InstanceProfileName"),
        Call("iam", "AddRoleToInstanceProfile", ("role",), {"role": "RoleName"}, first=_of("instanceProfileName")),
    ),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": (
        Call("iam", "CreateOpenIDConnectProvider", names={"clientIdLists": "ClientIDList", "thumbprintLists": "ThumbprintList"}),
    ),
    "aws:iam/policy:Policy": (Call("iam", "CreatePolicy", names={"name": "PolicyName", "policy": "PolicyDocument"}, result="Policy.Arn"),),
    "aws:iam/role:Role": (
        Call("iam", "CreateRole", names={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"}, result="Role.RoleName"),
    ),
    "aws:iam/rolePolicy:RolePolicy": (
        Call("iam", "PutRolePolicy", names={"name": "PolicyName", "policy": "PolicyDocument", "role": "RoleName"}),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": (Call("iam", "AttachRolePolicy", names={"role": "RoleName"}),),
    "aws:iam/serviceLinkedRole:ServiceLinkedRole": (Call("iam", "CreateServiceLinkedRole"),),
    "aws:kms/alias:Alias": (Call("kms", "CreateAlias", names={"name": "AliasName"}),),
    "aws:kms/key:Key": (
        Call("kms", "CreateKey", result="KeyMetadata.KeyId"),
        Call("kms", "EnableKeyRotation", ("enableKeyRotation",), first=lambda _, made_id: {"keyId": made_id}),
        Call("kms", "ScheduleKeyDeletion", ("deletionWindowInDays",), {"deletionWindowInDays": "PendingWindowInDays"}, first=_of("keyId")),
    ),
    f"{_S3}:Bucket": (Call("s3", "CreateBucket"), Call("s3", "PutBucketTagging", ("tags",), first=_tagging)),
    f"{_S3}LifecycleConfiguration:BucketLifecycleConfiguration": (
        Call("s3", "PutBucketLifecycleConfiguration", under="LifecycleConfiguration", beside=("bucket",)),
    ),
    f"{_S3}Logging:BucketLogging": (
        Call(
            "s3",
            "PutBucketLogging",
            first=lambda i, _: {
                "bucket": i["bucket"],
                "bucketLoggingStatus": {"loggingEnabled": {k: v for k, v in i.items() if k != "bucket"}},
            },
        ),
    ),
    f"{_S3}Objectv2:BucketObjectv2": (Call("s3", "PutObject", names={"content": "Body", "kmsKeyId": "SSEKMSKeyId"}),),
    f"{_S3}OwnershipControls:BucketOwnershipControls": (Call("s3", "PutBucketOwnershipControls", first=_ownership),),
    f"{_S3}Policy:BucketPolicy": (Call("s3", "PutBucketPolicy"),),
    f"{_S3}PublicAccessBlock:BucketPublicAccessBlock": (
        Call("s3", "PutPublicAccessBlock", under="PublicAccessBlockConfiguration", beside=("bucket",)),
    ),
    f"{_S3}ServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        Call("s3", "PutBucketEncryption", under="ServerSideEncryptionConfiguration", beside=("bucket",)),
    ),
    f"{_S3}Versioning:BucketVersioning": (Call("s3", "PutBucketVersioning"),),
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": (Call("sagemaker", "CreateModelPackageGroup"),),
    "aws:scheduler/schedule:Schedule": (Call("scheduler", "CreateSchedule"),),
    "aws:sfn/stateMachine:StateMachine": (Call("stepfunctions", "CreateStateMachine", result="stateMachineArn"),),
    "aws:sns/topic:Topic": (Call("sns", "CreateTopic", result="TopicArn"),),
    "aws:sns/topicPolicy:TopicPolicy": (Call("sns", "SetTopicAttributes", first=_topic_policy),),
    "aws:sns/topicSubscription:TopicSubscription": (Call("sns", "Subscribe", names={"topic": "TopicArn"}),),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": (
        Call(
            "ec2",
            "AuthorizeSecurityGroupEgress",
            first=_rule,
            tagged="security-group-rule",
            result="SecurityGroupRules[0].SecurityGroupRuleId",
        ),
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (
        Call(
            "ec2",
            "AuthorizeSecurityGroupIngress",
            first=_rule,
            tagged="security-group-rule",
            result="SecurityGroupRules[0].SecurityGroupRuleId",
        ),
    ),
}
