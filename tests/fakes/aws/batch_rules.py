"""Rules of AWS Batch that its documentation states and botocore's model does not: refusals and retry decisions. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.fakes.aws.botocore_service import Body, RefusalError

if TYPE_CHECKING:
    from tests.fakes.aws.batch_jobs import Queue

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def _refuse(text: str) -> RefusalError:
    return RefusalError("ClientException", text)


def check_definition(body: Body) -> None:
    """Raise RefusalError for a job definition that Batch refuses."""
    if not _NAME.fullmatch(body["jobDefinitionName"]):
        raise _refuse(f"jobDefinitionName {body['jobDefinitionName']!r} is not valid")
    if len(json.dumps(body)) > 24 * 1024:
        raise _refuse("the job definition is larger than 24 KiB")
    multi = body["type"] == "multinode"
    if multi == ("containerProperties" in body) or multi != ("nodeProperties" in body):
        raise _refuse(f"a definition of type {body['type']} has the properties of the other")
    nodes = body.get("nodeProperties", {})
    if multi and not 0 <= nodes["mainNode"] < nodes["numNodes"]:
        raise _refuse("mainNode is not among the nodes")
    if len(body.get("tags", {})) > 50:
        raise _refuse("too many tags")
    _check_retries(body.get("retryStrategy", {}))
    _check_timeout(body)
    for container in [group["container"] for group in nodes["nodeRangeProperties"]] if multi else [body["containerProperties"]]:
        needs = {entry["type"] for entry in container.get("resourceRequirements", [])}
        if not container.get("image") or not {"VCPU", "MEMORY"} <= needs:
            raise _refuse("image and the resource requirements VCPU and MEMORY are required")
        _check_environment(container.get("environment", []))


def check_submission(body: Body, queue: Queue | None, definition: Body | None) -> tuple[Body, int]:
    """Raise RefusalError for a submission that Batch refuses. Return each node's container properties and the number of nodes."""
    if queue is None:
        raise _refuse(f"Job queue {body['jobQueue']} not found")
    if queue.state != "ENABLED" or queue.status != "VALID":
        raise _refuse(f"Job queue {queue.name} is {queue.state} and {queue.status}: it takes no jobs")
    if definition is None:
        raise _refuse(f"Job definition {body['jobDefinition']} not found or not active")
    if not _NAME.fullmatch(body["jobName"]):
        raise _refuse(f"jobName {body['jobName']!r} is not valid")
    _check_share(body, queue)
    if len(json.dumps(body)) > 30 * 1024:
        raise _refuse("the payload is larger than 30 KiB")
    if len(body.get("tags", {})) > 50:
        raise _refuse("too many tags")
    _check_retries(body.get("retryStrategy", {}))
    _check_timeout(body)
    if definition["type"] == "multinode":
        return _nodes(body, queue, definition["nodeProperties"])
    if "nodeOverrides" in body:
        raise _refuse("nodeOverrides are for multi-node parallel jobs")
    return _overridden(definition["containerProperties"], body.get("containerOverrides", {})), 1


def _check_share(body: Body, queue: Queue) -> None:
    """Check the share identifier and the priority: botocore's Batch model, SubmitJob. The last message is Batch's own.

    github.com/hashicorp/terraform-provider-aws/issues/31226, read on 2026-12-01.
    """
    if queue.shared != ("shareIdentifier" in body):
        raise _refuse("shareIdentifier must be specified exactly when the job queue has a fair-share scheduling policy")
    if queue.shared and not re.fullmatch(r"[A-Za-z0-9]{1,255}", body["shareIdentifier"]):
        raise _refuse("shareIdentifier is limited to 255 alphanumeric characters")
    if queue.shared and "schedulingPriorityOverride" not in body:
        raise _refuse("Either schedulingPriority in job definition or schedulingPriorityOverride is required.")
    if not 0 <= body.get("schedulingPriorityOverride", 0) <= 9999:
        raise _refuse("schedulingPriorityOverride is 0 to 9999")


def _nodes(body: Body, queue: Queue, properties: Body) -> tuple[Body, int]:
    if queue.spot or not queue.managed:
        kind = "Spot" if queue.spot else "UNMANAGED"
        raise _refuse(f"multi-node parallel jobs are not supported on {kind} compute environments")
    if "containerOverrides" in body:
        raise _refuse("containerOverrides are not for multi-node parallel jobs: use nodeOverrides")
    [group] = properties["nodeRangeProperties"]
    overrides = body.get("nodeOverrides", {})
    count = overrides.get("numNodes", properties["numNodes"])
    if count != properties["numNodes"] and not group["targetNodes"].endswith(":"):
        raise _refuse("numNodes can only be overridden where the node range is open")
    container = group["container"]
    for override in overrides.get("nodePropertyOverrides", []):
        if override["targetNodes"] != group["targetNodes"]:
            raise _refuse("NodeOverride targets should match job definition")
        container = _overridden(container, override.get("containerOverrides", {}))
    return container, count


def _overridden(container: Body, overrides: Body) -> Body:
    _check_environment(overrides.get("environment", []))
    merged = {entry["name"]: entry["value"] for entry in [*container.get("environment", []), *overrides.get("environment", [])]}
    environment = [{"name": name, "value": value} for name, value in merged.items()]
    return {**container, **overrides, "environment": environment}


def _check_environment(entries: Sequence[Any]) -> None:
    reserved = [entry["name"] for entry in entries if entry["name"].startswith("AWS_BATCH")]
    if reserved:
        raise _refuse(f"names that begin with AWS_BATCH are reserved: {reserved}")


def _check_timeout(body: Body) -> None:
    if body.get("timeout", {}).get("attemptDurationSeconds", 60) < 60:
        raise _refuse("attemptDurationSeconds is at least 60")


def _check_retries(retry: Body) -> None:
    rules = retry.get("evaluateOnExit", [])
    if not 1 <= retry.get("attempts", 1) <= 10 or len(rules) > 5 or (rules and "attempts" not in retry):
        raise _refuse("attempts is 1..10 and goes with at most 5 conditions")
    for rule in rules:
        if not rule.keys() & {"onExitCode", "onReason", "onStatusReason"}:
            raise _refuse("a condition needs one of onExitCode, onReason, onStatusReason")
        if not re.fullmatch(r"[0-9]*\*?", rule.get("onExitCode", "")) or not all(
            re.fullmatch(r"[A-Za-z0-9.:\s]*\*?", rule.get(key, "")) for key in ("onReason", "onStatusReason")
        ):
            raise _refuse(f"a pattern is not valid: {rule}")


def device_error(container: Body, adapters: int) -> str | None:
    """Return ECS's message about a container that Docker refuses, because the machine lacks a device. None: the container can start.

    Docker's text: github.com/moby/moby, oci/devices_linux.go, "error gathering device information"; read on 2026-12-01.
    """
    wanted = [device["hostPath"] for device in container.get("linuxParameters", {}).get("devices", [])]
    missing = [path for path in wanted if int(path.removeprefix("/dev/infiniband/uverbs")) >= adapters]
    if not missing:
        return None
    text = f'error gathering device information while adding custom device "{missing[0]}": no such file or directory'
    return f"CannotStartContainerError: Error response from daemon: {text}"


def check_listing(body: Body) -> None:
    """Raise RefusalError unless a listing has one parent and at most one filter. A filter is allowed for a queue only."""
    if sum(key in body for key in ("jobQueue", "arrayJobId", "multiNodeJobId")) != 1:
        raise _refuse("specify exactly one of jobQueue, arrayJobId and multiNodeJobId")
    filters = body.get("filters", [])
    if len(filters) > 1 or (filters and "jobQueue" not in body):
        raise _refuse("one filter is supported, and only with jobQueue")
    if any(filter_["name"] not in ("JOB_NAME", "JOB_DEFINITION", "BEFORE_CREATED_AT", "AFTER_CREATED_AT") for filter_ in filters):
        raise _refuse("no such filter")


def decide(rules: Sequence[Body], exit_code: int | None, reason: str | None, status_reason: str) -> str:
    """Return RETRY or EXIT: the action of the first rule whose patterns all match. Without a match the job is retried."""
    texts = {"onExitCode": "" if exit_code is None else str(exit_code), "onReason": reason or "", "onStatusReason": status_reason}
    for rule in rules:
        if all(_matches(rule[key], text) for key, text in texts.items() if key in rule):
            return str(rule["action"]).upper()
    return "RETRY"


def _matches(pattern: str, text: str) -> bool:
    pattern, text = pattern.lower(), text.lower()
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
