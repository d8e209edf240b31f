"""Stop a `vms` pool whose machines are replaced again and again: a workflow that Cloud Scheduler starts, and an alert policy.

A machine with broken hardware shuts itself down (boot.sh), and its instance group makes another one, without end. Every ten minutes the
workflow counts the machines of the group that shut down within the last hour. If they are more than the pool's limit, it turns the
group's repairs off and writes an error to its log. The alert policy reports that error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pulumi
from pulumi_gcp import compute, monitoring, workflows

from ...plain_data import PlainDict
from .cidr import region_of
from .identity import Identity
from .project import ProjectLookup
from .schedule import request_every

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["SHUTDOWN", "limit_replacements", "stop_filter", "workflow"]

SHUTDOWN = "compute.instances.guestTerminate"
"""Type of the operation that Compute Engine records when a machine's operating system shuts down, as boot.sh does.

Preemptions and deleted machines have other types: GuestTerminateEvent in GoogleCloudPlatform/iap-desktop, read on 2026-12-01.
"""
_ROLES = ("limit-replacements", "write-logs")
_OAUTH = {"type": "OAuth2"}
_HOUR_S = 3600
_MOST = 500  # operations of one answer, the most that Compute Engine sends
_FIELDS = "items(targetLink,insertTime)"  # whole operations can exceed the memory of a workflow, 512 KB


def limit_replacements(pool: GpuPool, zone: str, group: compute.InstanceGroupManager, project: ProjectLookup) -> pulumi.Output[str]:
    """Stop the pool when more of its machines shut down within an hour than its limit. Return the name of the workflow."""
    name, region, options = pool.child_name("replacements"), region_of(zone), pool.child_options()
    identity = Identity(
        name, purpose="stops the pool when its machines are broken", project_roles=_ROLES, project=project, opts=pool.child_options()
    )
    made = workflows.Workflow(
        name,
        region=region,
        description=f"stops pool {pool.logical_name} when its machines are broken",
        service_account=identity.email,
        source_contents=pulumi.Output.all(project.id, group.name).apply(
            lambda found: json.dumps(workflow(found[0], zone, found[1], pool.spec.replacement_limit, pool.stop_message))
        ),
        deletion_protection=False,  # else Pulumi cannot delete it
        labels=pool.gcp_labels("replacements"),
        opts=options,
    )
    uri = pulumi.Output.from_input(made.id).apply(lambda path: f"https://workflowexecutions.googleapis.com/v1/{path}/executions")
    why = f"counts the broken machines of pool {pool.logical_name}"
    request_every(pool, 10, "replacements", why, region, uri, identity)
    _alert(pool, name, made)
    return pulumi.Output.from_input(made.name)


def workflow(project: str, zone: str, group: str, limit: int, message: str) -> PlainDict:
    """Return the workflow (cloud.google.com/workflows/docs/reference/syntax).

    It reads operations, because they are kept for 14 days and need no right to read logs. It counts the machines that the group lists: a
    repair keeps a machine's name, and a pool of another stack can have machines with similar names. A stopped group stays as it is.
    """
    place = f"https://compute.googleapis.com/compute/v1/projects/{project}/zones/{zone}"
    url = f"{place}/instanceGroupManagers/{group}"
    newest = {"filter": f'operationType="{SHUTDOWN}"', "orderBy": "creationTimestamp desc", "maxResults": _MOST, "fields": _FIELDS}
    action = 'map.get(group.body, ["instanceLifecyclePolicy", "defaultActionOnFailure"])'
    is_recent = "time.parse(operation.insertTime) > since"
    is_of_pool = "operation.targetLink in machines"
    listing = {"url": f"{url}/listManagedInstances", "auth": _OAUTH, "query": {"fields": "managedInstances(instance)"}}
    add = [{"add": {"assign": [{"broken": "${broken + 1}"}]}}]
    steps: list[PlainDict] = [
        {"read_group": {"call": "http.get", "args": {"url": url, "auth": _OAUTH}, "result": "group"}},
        {"end_if_stopped": {"switch": [{"condition": f'${{{action} == "DO_NOTHING"}}', "next": "end"}]}},
        {"read_machines": {"call": "http.post", "args": listing, "result": "listed"}},
        {
            "read_shutdowns": {
                "call": "http.get",
                "args": {"url": f"{place}/operations", "auth": _OAUTH, "query": newest},
                "result": "found",
            }
        },
        {"begin": {"assign": [{"broken": 0}, {"machines": []}, {"since": f"${{sys.now() - {_HOUR_S}}}"}]}},
        {
            "name_machines": {
                "for": {
                    "value": "machine",
                    "in": '${default(map.get(listed.body, "managedInstances"), [])}',
                    "steps": [{"name_one": {"assign": [{"machines": "${list.concat(machines, machine.instance)}"}]}}],
                }
            }
        },
        {
            "count": {
                "for": {
                    "value": "operation",
                    "in": '${default(map.get(found.body, "items"), [])}',
                    "steps": [{"count_one": {"switch": [{"condition": f"${{{is_recent} and {is_of_pool}}}", "steps": add}]}}],
                }
            }
        },
        {"end_if_few": {"switch": [{"condition": f"${{broken <= {limit}}}", "next": "end"}]}},
        {
            "stop": {
                "call": "http.patch",
                "args": {"url": url, "auth": _OAUTH, "body": {"instanceLifecyclePolicy": {"defaultActionOnFailure": "DO_NOTHING"}}},
            }
        },
        {"report": {"call": "sys.log", "args": {"severity": "ERROR", "text": message}}},
    ]
    return {"main": {"steps": steps}}


def stop_filter(workflow_ids: Iterable[str]) -> str:
    """Return the filter of Cloud Logging for the error that one of these workflows writes when it has stopped its pool.

    >>> stop_filter(["b", "a"]).partition(" AND severity=ERROR AND ")[2]
    '(resource.labels.workflow_id="a" OR resource.labels.workflow_id="b")'
    """
    any_of_them = " OR ".join(f'resource.labels.workflow_id="{each}"' for each in sorted(workflow_ids))
    return f'resource.type="workflows.googleapis.com/Workflow" AND severity=ERROR AND ({any_of_them})'


def _alert(pool: GpuPool, name: str, made: workflows.Workflow) -> None:
    """Open an incident in Cloud Monitoring when the workflow has stopped the pool."""
    monitoring.AlertPolicy(
        name,
        display_name=f"pool {pool.logical_name}: too many broken machines",
        combiner="OR",
        conditions=[
            {
                "display_name": "the workflow stopped the pool",
                "condition_matched_log": {"filter": made.name.apply(lambda workflow_id: stop_filter([workflow_id]))},
            }
        ],
        alert_strategy={"notification_rate_limit": {"period": f"{_HOUR_S}s"}},  # required for log conditions
        documentation={"content": pool.stop_message, "mime_type": "text/markdown"},
        user_labels=pool.gcp_labels("replacements"),
        opts=pool.child_options(),
    )
