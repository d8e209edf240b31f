"""Every resource of the components is a valid request of AWS's API, by botocore's model and validator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gpuyard.components.aws import Bucket, Budget, EncryptionKey, Network
from gpuyard.components.planning.recorder import properties
from tests.helpers import aws_api_requests

# property in which the provider writes the name that Pulumi generates
NAMED = {
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:ec2/securityGroup:SecurityGroup": "name",
    "aws:iam/role:Role": "name",
    "aws:iam/rolePolicy:RolePolicy": "name",
    "aws:budgets/budget:Budget": "name",
    "aws:s3/bucket:Bucket": "bucket",
}


@pytest.mark.parametrize(
    "program",
    [
        *(
            lambda egress=egress: Network("net", {"zones": ["us-east-1a", "us-east-1b"], "egress": egress}, tags={"owner": "me"})
            for egress in ("nat", "endpoints", "none")
        ),
        lambda: Network.adopt("net", vpc_id="vpc-1", subnet_ids={"us-east-1a": "subnet-1"}),
        lambda: Bucket("runs", {"on_destroy": "delete"}, tags={"owner": "me"}),
        lambda: EncryptionKey("logs", for_logs=True),
        lambda: Budget("budget", owner="ml-platform@acme.io", usd_per_month=1500),
    ],
)
def test_every_resource_is_a_valid_api_request(record: Any, program: Callable[[], Any]) -> None:
    made = [request for request in record(program).resources.values() if request.custom]
    problems = []
    for request in made:
        inputs = properties(request.object)
        if request.type in NAMED:
            inputs[NAMED[request.type]] = f"{request.name}-1a2b3c4"
        if request.type == "aws:kms/alias:Alias":
            inputs["name"] = f"alias/{request.name}"
        for call in aws_api_requests.requests(request.type, inputs, f"{request.name}-id"):
            problems += aws_api_requests.problems(call)
    assert made
    assert problems == []
