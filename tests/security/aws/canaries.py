"""Canaries for AWS: a deliberately bad resource of each type that Checkov checks, and the rules that must fail on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.pulumi_provider.answers import Origin
from tests.security.canary import Canary

_OPEN = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_ANYBODY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"},
        {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"},
    ],
}
_PUBLIC_KEY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}]}
_PUBLIC_BUCKET = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}]}
_PUBLIC_TOPIC = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "a"}]}
_SSH = {"fromPort": 22, "toPort": 22, "protocol": "tcp", "cidrBlocks": ["0.0.0.0/0"]}
_VPC = ("aws:ec2/vpc:Vpc", "canary-vpc")
_BUCKET = ("aws:s3/bucket:Bucket", "canary-bucket")
ORIGINS = {"vpc-canary": Origin(*_VPC, "id"), "the-canary-bucket": Origin(*_BUCKET, "id")}
NAMES = dict((_VPC, _BUCKET))
_LAUNCH_TEMPLATE: Mapping[str, Any] = {
    "metadataOptions": {"httpTokens": "optional", "httpEndpoint": "enabled", "httpPutResponseHopLimit": 2},
    "networkInterfaces": [{"associatePublicIpAddress": "true"}],
    "userData": "export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLA\nexport AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEA\n",
}
CANARIES = (
    Canary(_VPC[0], ("CKV2_AWS_11", "CKV2_AWS_12"), {"cidrBlock": "10.0.0.0/16"}),
    Canary(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        ("CKV2_AWS_12",),
        {"vpcId": "vpc-canary", "ingress": [{**_SSH}]},
        _VPC,
    ),
    Canary("aws:ec2/subnet:Subnet", ("CKV_AWS_130",), {"vpcId": "vpc-canary", "mapPublicIpOnLaunch": True}),
    Canary("aws:ec2/eip:Eip", ("CKV2_AWS_19",), {"domain": "vpc"}),
    Canary(
        "aws:ec2/securityGroup:SecurityGroup",
        ("CKV_AWS_24", "CKV_AWS_23", "CKV2_AWS_5", "CKV_AWS_382"),
        {"ingress": [{**_SSH}], "egress": [{"fromPort": 0, "toPort": 0, "protocol": "-1", "cidrBlocks": ["0.0.0.0/0"]}]},
    ),
    Canary(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        ("CKV_AWS_24", "CKV_AWS_23"),
        {"securityGroupId": "sg-1", "ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": "0.0.0.0/0"},
    ),
    Canary(
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        ("CKV_AWS_382", "CKV_AWS_23"),  # the rule needs ports, and a security rule for all protocols has none: see own_rules.py
        {"securityGroupId": "sg-1", "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0", "fromPort": -1, "toPort": -1},
    ),
    Canary("aws:cloudwatch/logGroup:LogGroup", ("CKV_AWS_158", "CKV_AWS_338"), {"retentionInDays": 7}),
    Canary("aws:ec2/launchTemplate:LaunchTemplate", ("CKV_AWS_79", "CKV_AWS_341", "CKV_AWS_88", "CKV_AWS_46"), _LAUNCH_TEMPLATE),
    Canary("aws:autoscaling/group:Group", ("CKV_AWS_315", "CKV_AWS_153"), {"minSize": 0, "maxSize": 1, "launchConfiguration": "old"}),
    Canary(
        "aws:batch/jobDefinition:JobDefinition",
        ("CKV_AWS_210",),
        {"type": "container", "containerProperties": json.dumps({"image": "x", "privileged": True})},
    ),
    Canary("aws:iam/role:Role", ("CKV_AWS_60", "CKV_AWS_61"), {"assumeRolePolicy": json.dumps(_ANYBODY)}),
    Canary("aws:iam/policy:Policy", ("CKV_AWS_62", "CKV_AWS_63", "CKV_AWS_355"), {"policy": json.dumps(_OPEN)}),
    Canary("aws:iam/rolePolicy:RolePolicy", ("CKV_AWS_62", "CKV_AWS_63", "CKV_AWS_355"), {"role": "r", "policy": json.dumps(_OPEN)}),
    Canary(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        ("CKV_AWS_274",),
        {"role": "r", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    Canary("aws:kms/key:Key", ("CKV_AWS_7", "CKV_AWS_33"), {"enableKeyRotation": False, "policy": json.dumps(_PUBLIC_KEY)}),
    Canary(_BUCKET[0], ("CKV2_AWS_61", "CKV_AWS_18"), {"bucket": "canary"}),
    Canary(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        ("CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56"),
        {"bucket": "the-canary-bucket", "blockPublicAcls": False, "restrictPublicBuckets": False},
    ),
    Canary("aws:s3/bucketPolicy:BucketPolicy", ("CKV_AWS_70",), {"bucket": "the-canary-bucket", "policy": json.dumps(_PUBLIC_BUCKET)}),
    Canary(
        "aws:s3/bucketVersioning:BucketVersioning",
        ("CKV_AWS_21",),
        {"bucket": "the-canary-bucket", "versioningConfiguration": {"status": "Suspended"}},
        _BUCKET,
    ),
    Canary(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        ("CKV_AWS_145",),
        {"bucket": "the-canary-bucket", "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
        _BUCKET,
    ),
    Canary(
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        ("CKV2_AWS_65",),
        {"bucket": "the-canary-bucket", "rule": {"objectOwnership": "ObjectWriter"}},
    ),
    Canary(
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        ("CKV_AWS_300",),
        {"bucket": "other", "rules": [{"id": "a", "status": "Enabled", "expiration": {"days": 1}}]},
    ),
    Canary(
        "aws:scheduler/schedule:Schedule",
        ("CKV_AWS_297",),
        {"flexibleTimeWindow": {"mode": "OFF"}, "scheduleExpression": "rate(1 day)", "target": {"arn": "a", "roleArn": "r"}},
    ),
    Canary("aws:sns/topic:Topic", ("CKV_AWS_26",), {"displayName": "x"}),
    Canary("aws:sns/topicPolicy:TopicPolicy", ("CKV_AWS_169",), {"arn": "a", "policy": json.dumps(_PUBLIC_TOPIC)}),
    Canary("aws:cloudwatch/metricAlarm:MetricAlarm", ("CKV_AWS_319",), {"actionsEnabled": False, "evaluationPeriods": 1}),
    Canary("aws:ecr/repository:Repository", ("CKV_AWS_51", "CKV_AWS_136", "CKV_AWS_163"), {"imageTagMutability": "MUTABLE"}),
    Canary("aws:sfn/stateMachine:StateMachine", ("CKV_AWS_284", "CKV_AWS_285"), {"definition": "{}", "roleArn": "r"}),
)
# Types without a Checkov rule. own_rules.py checks those that matter.
BLIND = frozenset(
    {
        "aws:autoscaling/schedule:Schedule",
        "aws:batch/computeEnvironment:ComputeEnvironment",
        "aws:batch/jobQueue:JobQueue",
        "aws:batch/schedulingPolicy:SchedulingPolicy",
        "aws:budgets/budget:Budget",
        "aws:cloudwatch/eventRule:EventRule",
        "aws:cloudwatch/eventTarget:EventTarget",
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "aws:sns/topicSubscription:TopicSubscription",
        "aws:ec2/flowLog:FlowLog",
        "aws:ec2/internetGateway:InternetGateway",
        "aws:ec2/natGateway:NatGateway",
        "aws:ec2/placementGroup:PlacementGroup",
        "aws:ec2/route:Route",
        "aws:ec2/routeTable:RouteTable",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "aws:iam/instanceProfile:InstanceProfile",
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        "aws:iam/serviceLinkedRole:ServiceLinkedRole",
        "aws:kms/alias:Alias",
        "aws:s3/bucketLogging:BucketLogging",
        "aws:s3/bucketObjectv2:BucketObjectv2",
        "aws:sagemaker/modelPackageGroup:ModelPackageGroup",
    }
)
