"""Rules for the body of an Azure ML job: learn.microsoft.com/rest/api/azureml/jobs/create-or-update. Unknown keys are refused."""

from __future__ import annotations

import re
from typing import Any

_TEXT = (str,)
_SHAPE: dict[str, Any] = {
    "jobType": _TEXT, "displayName": _TEXT, "experimentName": _TEXT, "description": _TEXT, "command": _TEXT, "environmentId": _TEXT,
    "computeId": _TEXT, "codeId": _TEXT, "componentId": _TEXT,
    "isArchived": (bool,), "inputs": {}, "outputs": {}, "properties": {"*": _TEXT},
    "distribution": {"distributionType": _TEXT, "processCountPerInstance": (int,)},
    "resources": {"instanceCount": (int,), "instanceType": _TEXT, "shmSize": _TEXT, "dockerArgs": _TEXT, "properties": {}},
    "limits": {"jobLimitsType": _TEXT, "timeout": _TEXT},
    "identity": {"identityType": _TEXT, "clientId": _TEXT, "objectId": _TEXT, "resourceId": _TEXT},
    "environmentVariables": {"*": _TEXT}, "tags": {"*": _TEXT}, "queueSettings": {"jobTier": _TEXT},
}  # fmt: skip
_REQUIRED = ("jobType", "command", "environmentId", "computeId", "limits", "resources")
_DURATION = re.compile(r"P(?=.)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}")


def problem_of(name: str, properties: dict[str, Any], environments: set[str], compute: str, most: int) -> str | None:
    """Return the first problem that the service would refuse, or None."""
    if not _NAME.fullmatch(name):
        return f"invalid job name {name}"
    if unknown := _misfit(properties, _SHAPE, "properties"):
        return unknown
    if missing := [key for key in _REQUIRED if not properties.get(key)]:
        return f"missing: {', '.join(missing)}"
    count = properties["resources"].get("instanceCount", 0)
    rules = [
        (properties["jobType"] != "Command", "jobType is not Command"),
        (properties["environmentId"] not in environments, f"environment {properties['environmentId']} was not found"),
        (properties["computeId"] != compute, f"compute {properties['computeId']} was not found"),
        (not 1 <= count <= most, f"instanceCount {count} exceeds the maximum of {most} nodes of the compute target"),
        (not _DURATION.fullmatch(properties["limits"].get("timeout", "")), "limits.timeout is not an ISO 8601 duration"),
        (properties["limits"].get("jobLimitsType") != "Command", "limits.jobLimitsType is not Command"),
        (not re.fullmatch(r"\d+[bkmgBKMG]", properties["resources"].get("shmSize", "1g")), "shmSize is malformed"),
        (not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}", properties.get("experimentName", "x")), "experimentName is malformed"),
        (len(properties.get("tags", {})) > 50, "too many tags"),
        (count > 1 and properties.get("distribution", {}).get("distributionType") != "PyTorch", "several nodes need a distribution"),
    ]
    return next((text for broken, text in rules if broken), None)


def _misfit(value: Any, shape: Any, where: str) -> str | None:
    if isinstance(shape, tuple):
        fits = isinstance(value, shape) and not (isinstance(value, bool) and bool not in shape)
        return None if fits else f"{where}: got {value!r}"
    if not isinstance(value, dict):
        return f"{where}: not an object"
    found = (
        _misfit(item, shape.get(key, shape.get("*")), f"{where}.{key}") if key in shape or "*" in shape else f"{where}.{key}: unknown"
        for key, item in value.items()
    )
    return next(filter(None, found), None)
