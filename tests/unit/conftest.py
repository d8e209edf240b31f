"""Runs a program under the recording monitor, as a preview (nothing is known) or as an update (providers answer)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime import mocks

from gpuyard.components.planning.recorder import Answers, Recording
from gpuyard.components.planning.recorder import record as run_recorded
from tests.fakes.pulumi_provider import aws_refusals, azure_refusals, azure_rules, gcp_rules

_ACCOUNT, _REGION, _PARTITION = "111122223333", "us-east-1", "aws"
_LOOKUPS: dict[str, Mapping[str, Any]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": {
        "accountId": _ACCOUNT,
        "arn": f"arn:{_PARTITION}:iam::{_ACCOUNT}:user/tester",
        "id": _ACCOUNT,
        "userId": "AIDATESTER",
    },
    "aws:index/getRegion:getRegion": {"description": "N. Virginia", "endpoint": "", "id": _REGION, "name": _REGION, "region": _REGION},
    "aws:index/getPartition:getPartition": {
        "dnsSuffix": "amazonaws.com",
        "id": _PARTITION,
        "partition": _PARTITION,
        "reverseDnsPrefix": "com.amazonaws",
    },
    "azure-native:authorization:getClientConfig": {"clientId": "c", "objectId": "o", "subscriptionId": "sub", "tenantId": "tenant"},
    **gcp_rules.LOOK_UPS,
    "aws:ec2/getAmi:getAmi": {"rootDeviceName": "/dev/sda1"},
    "aws:ssm/getParameter:getParameter": {"type": "String", "value": "ami-0123456789abcdef0", "insecureValue": "ami-0123456789abcdef0"},
}


_NAMED_BY = {"StorageAccount": ["accountName"], "BlobContainer": ["containerName"], "VirtualMachineScaleSet": ["vmScaleSetName"]}
LIVE: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {}
"""Token of a look-up that reads one resource -> its result and failures. Without an entry the resource does not exist."""


class _Updated(Answers):
    """An update: outputs are the inputs, AWS resources have an ARN, and the usual look-ups have fixed results."""

    preview = False

    def __init__(self) -> None:
        self._inputs: dict[str, Mapping[str, Any]] = {}
        self.refused: list[str] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        made_id, outputs = self._outputs(args)
        self._inputs[made_id] = args.inputs
        refusals = {"aws": aws_refusals.refusals, "azure-native": azure_refusals.refusals}.get(args.typ.partition(":")[0])
        if refusals is not None:
            self.refused += [f"{args.name}: {message}" for message in refusals(args.typ, args.inputs, self._inputs.get)]
        return made_id, outputs

    def _outputs(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        package, _, rest = args.typ.partition(":")
        computed: dict[str, Any] = {}
        if package == "aws":
            service = rest.partition("/")[0]
            name = args.inputs.get("name", args.name)
            computed = {
                "arn": f"arn:{_PARTITION}:{service}:{_REGION}:{_ACCOUNT}:{name}",
                "name": name,
                "bucket": args.name,
                "ecsClusterArn": f"arn:{_PARTITION}:ecs:{_REGION}:{_ACCOUNT}:cluster/AWSBatch-{name}-1a2b",
                "latestVersion": 1,
                "prefixListId": f"pl-{args.name}",
            }
        if package == "azure-native":
            return _azure(args)
        if package == "gcp":
            made_id = gcp_rules.SHAPES.made(args.typ, f"::{args.name}", {"name": args.name, **args.inputs})[0]
            self.refused += [f"{args.name}: {message}" for message in gcp_rules.refusals(args.typ, args.inputs, self._inputs.get)]
            return made_id, _gcp(args)
        return args.inputs.get("path", f"{args.name}-id"), {**computed, **args.inputs}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        if args.token in azure_rules.SHAPES.read_by:
            return LIVE.get(args.token, ({}, [("", "Status=404 Code=ResourceNotFound")]))
        if args.token not in _LOOKUPS:
            raise AssertionError(f"a component called {args.token}")
        return {**_LOOKUPS[args.token], **args.args}, []


def _gcp(args: mocks.MockResourceArgs) -> dict[str, Any]:
    """Return outputs in Google's forms, with a unique id and a location where the inputs have none."""
    named = {"name": args.name, **args.inputs}
    _, where = gcp_rules.SHAPES.made(args.typ, f"::{args.name}", named)
    place = {"project": gcp_rules.PROJECT, "location": gcp_rules.REGION, "uniqueId": "103212345678901234567"}
    return {**place, **named, **where}


def _azure(args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
    """Return id and outputs in Azure's forms: the id is a path, `name` the chosen name or the name in the program."""
    kind = args.typ.rpartition(":")[2]
    keys = (f"{kind[0].lower()}{kind[1:]}Name", *_NAMED_BY.get(kind, ()))
    chosen = next((args.inputs[key] for key in keys if key in args.inputs), args.name)
    computed: dict[str, Any] = {"name": chosen, "principalId": f"{args.name}-principal", "clientId": f"{args.name}-client"}
    computed |= {"location": "eastus", "keyUri": f"https://vault/keys/{chosen}"} if kind in ("Key", "Workspace") else {}
    given = dict(args.inputs)
    if kind in ("Workspace", "Workflow") and "identity" in given:
        given["identity"] = {**given["identity"], "principalId": f"{args.name}-principal"}
    if kind == "Workflow":
        computed["accessEndpoint"] = f"https://logic.azure.com/workflows/{args.name}"
    if kind == "Vault":
        given["properties"] = {**given["properties"], "vaultUri": f"https://{chosen}.vault.azure.net/"}
    below = "" if kind == "ResourceGroup" else f"/providers/Microsoft.X/{kind}/{chosen}"
    group = chosen if kind == "ResourceGroup" else given.get("resourceGroupName", "g")
    return f"/subscriptions/sub/resourceGroups/{group}{below}", {**computed, **given}


Record = Callable[..., Recording]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Return a function that records a program. It fails the test for what an engine would refuse."""

    def run(
        program: Callable[[], Any], *, preview: bool = False, config: Mapping[str, str] | None = None, secret: tuple[str, ...] = ()
    ) -> Recording:
        updated = _Updated()
        answers = Answers() if preview else updated
        recording = run_recorded(program, answers, project="gpuyard", stack="local", config=config, secret=secret, root=tmp_path)
        assert recording.problems == []
        assert updated.refused == []
        return recording

    return run
