"""Fake outputs of AWS, GCP and Azure resources, for a program that runs under the recording monitor as an update.

Each id, ARN, link and name belongs to one resource, and `origins` maps it to that resource's output. The values are only shaped well
enough for the components and the SDKs to read them.
"""

from __future__ import annotations

import functools
import importlib
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

import pulumi
from pulumi import _types
from pulumi.runtime import mocks

from gpuyard.components.planning.recorder import Answers

AWS_ACCOUNT, AWS_REGION, AWS_PARTITION = "123456789012", "us-east-1", "aws"
GCP_PROJECT, GCP_NUMBER, GCP_REGION = "acme-ml", "123456789012", "us-central1"
AZURE_SUBSCRIPTION, AZURE_TENANT = "00000000-1111-2222-3333-444444444444", "55555555-5555-4555-8555-555555555555"
_VALUES: Mapping[Any, Any] = {pulumi.Output[str]: "computed", pulumi.Output[int]: 1, pulumi.Output[bool]: False}
_SHARED = {"location", "project"}  # outputs that many resources have in common
_AGENT = f"service-{GCP_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
_IMAGE = "ami-0123456789abcdef0"
_LOOK_UPS: Mapping[str, Mapping[str, Any]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": {
        "accountId": AWS_ACCOUNT,
        "arn": f"arn:{AWS_PARTITION}:iam::{AWS_ACCOUNT}:user/bench",
        "id": AWS_ACCOUNT,
        "userId": "AIDABENCH",
    },
    "aws:index/getPartition:getPartition": {
        "dnsSuffix": "amazonaws.com",
        "id": AWS_PARTITION,
        "partition": AWS_PARTITION,
        "reverseDnsPrefix": "com.amazonaws",
    },
    "aws:index/getRegion:getRegion": {"description": "", "endpoint": "", "id": AWS_REGION, "name": AWS_REGION, "region": AWS_REGION},
    "aws:ssm/getParameter:getParameter": {"type": "String", "value": _IMAGE, "insecureValue": _IMAGE},
    "aws:ec2/getAmi:getAmi": {"id": _IMAGE, "imageId": _IMAGE, "rootDeviceName": "/dev/sda1"},
    "gcp:compute/getImage:getImage": {"id": "image-1", "name": "image-1", "selfLink": "projects/images/global/images/image-1"},
    "gcp:organizations/getClientConfig:getClientConfig": {
        "accessToken": "",
        "defaultLabels": {},
        "id": GCP_PROJECT,
        "project": GCP_PROJECT,
        "region": GCP_REGION,
        "zone": f"{GCP_REGION}-a",
    },
    "gcp:organizations/getProject:getProject": {
        "billingAccount": "01AB23-45CD67-89EF01",
        "id": f"projects/{GCP_PROJECT}",
        "projectId": GCP_PROJECT,
        "number": GCP_NUMBER,
        "name": GCP_PROJECT,
    },
    "gcp:storage/getProjectServiceAccount:getProjectServiceAccount": {
        "emailAddress": _AGENT,
        "id": _AGENT,
        "member": f"serviceAccount:{_AGENT}",
        "project": GCP_PROJECT,
    },
    "azure-native:authorization:getClientConfig": {
        "clientId": "client",
        "objectId": "object",
        "subscriptionId": AZURE_SUBSCRIPTION,
        "tenantId": AZURE_TENANT,
    },
}


class Origin(NamedTuple):
    """The resource output that a value comes from. Without a resource type (an empty token) it comes from a look-up."""

    token: str
    name: str
    attribute: str


class TracedOutputs(Answers):
    """Answers of an update whose values are traced to the outputs they come from."""

    preview = False

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Return the id and the outputs: the inputs, and what the cloud computes."""
        make = _MAKERS.get(args.typ.partition(":")[0])
        made_id, computed = make(args) if make else (f"{args.name}-id", {})
        for attribute, value in {"id": made_id, **computed}.items():
            if isinstance(value, str) and attribute not in _SHARED and value not in args.inputs.values():
                self.origins.setdefault(value, Origin(args.typ, args.name, attribute))
        return made_id, {**_plain_outputs(args.typ), **computed, **args.inputs, **_shown(args)}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Return the fixed result of a look-up, with its arguments."""
        return {**_LOOK_UPS[args.token], **args.args}, []


def resource_class(token: str) -> Any:
    """Return the SDK's class of a type token."""
    package, service, name = token.split(":")
    return getattr(importlib.import_module(f"pulumi_{package.replace('-', '_')}.{service.partition('/')[0]}"), name)


@functools.cache
def _plain_outputs(token: str) -> dict[str, Any]:
    """Return a value for each output that every resource of a type has, by its name on the wire."""
    if token.partition(":")[0] not in _MAKERS:
        return {}
    kinds = {wire: typing.get_type_hints(each.fget).get("return") for _, wire, each in _types._py_properties(resource_class(token))}
    return {wire: _VALUES[kind] for wire, kind in kinds.items() if kind in _VALUES}


def _aws(args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
    service, _, kind = args.typ.removeprefix("aws:").replace(":", "/").split("/")
    own = f"{args.name}-{kind.lower()}"
    name = args.inputs.get("name", own)
    rows = {"Bucket": f"s3:::{args.inputs.get('bucket', own)}", "LogGroup": f"logs:{AWS_REGION}:{AWS_ACCOUNT}:log-group:{name}"}
    tail = rows.get(kind, f"{service}:{AWS_REGION}:{AWS_ACCOUNT}:{kind.lower()}/{own}")
    known = {"arn": f"arn:{AWS_PARTITION}:{tail}", "name": own, "bucket": own, "latestVersion": 1, "prefixListId": f"pl-{own}"}
    return own, {**known, "ecsClusterArn": f"arn:{AWS_PARTITION}:ecs:{AWS_REGION}:{AWS_ACCOUNT}:cluster/{own}"}


def _gcp(args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
    kind = args.typ.rpartition(":")[2]
    path = f"projects/{GCP_PROJECT}/{kind[0].lower()}{kind[1:]}s/{args.inputs.get('name', args.name)}"
    if kind == "Account":
        email = f"{args.inputs['accountId']}@{GCP_PROJECT}.iam.gserviceaccount.com"
        return f"projects/{GCP_PROJECT}/serviceAccounts/{email}", {"email": email, "member": f"serviceAccount:{email}"}
    if kind == "Bucket":
        return f"{args.name}-bucket", {"name": f"{args.name}-bucket", "url": f"gs://{args.name}-bucket"}
    link = f"https://www.googleapis.com/{path}"
    return path, {"selfLink": link, "selfLinkUnique": f"{link}?uniqueId=1", "name": path, "location": GCP_REGION, "project": GCP_PROJECT}


def _azure(args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
    kind = args.typ.rpartition(":")[2]
    keys = (f"{kind[0].lower()}{kind[1:]}Name", *{"StorageAccount": ["accountName"], "BlobContainer": ["containerName"]}.get(kind, []))
    name = next((str(args.inputs[key]) for key in keys if key in args.inputs), f"{args.name}-{kind.lower()}")
    subscription = f"/subscriptions/{AZURE_SUBSCRIPTION}/resourceGroups"
    path = f"{subscription}/{args.inputs.get('resourceGroupName', 'group')}/providers/Microsoft.Bench/{kind}/{args.name}/{name}"
    own = f"{args.name}-{kind.lower()}"
    computed = {"name": name, "principalId": f"{own}-principal", "clientId": f"{own}-client", "location": "eastus"}
    return (f"{subscription}/{name}" if kind == "ResourceGroup" else path), {**computed, "keyUri": f"https://vault/keys/{own}"}


def _shown(args: mocks.MockResourceArgs) -> dict[str, Any]:
    """Return the Azure properties that come back in another form than they were given."""
    shown: dict[str, Any] = {}
    if args.typ.startswith("azure-native:") and isinstance(args.inputs.get("identity"), Mapping):
        given = args.inputs["identity"]
        users = {each: {"principalId": "p", "clientId": "c"} for each in given.get("userAssignedIdentities") or []}
        shown["identity"] = {**given, "userAssignedIdentities": users, "principalId": f"{args.name}-principal"}
    if args.typ.endswith(":Vault"):
        shown["properties"] = {**args.inputs["properties"], "vaultUri": f"https://{args.name}.vault.azure.net/"}
    return shown


_MAKERS = {"aws": _aws, "gcp": _gcp, "azure-native": _azure}
