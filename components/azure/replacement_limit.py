"""Replace broken machines of a `vms` pool, and stop when there are too many: health probes, automatic repairs, a Logic App that counts.

A machine with broken hardware reports itself to the Logic App. The Logic App answers whether Azure may replace the machine. At the first
report beyond the limit of an hour it also suspends the scale set's automatic repairs, so that Azure replaces no machine at all.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pulumi
import pulumi_azure_native as az

from ...plain_data import PlainDict
from ..base import this_stack
from .account import account
from .identity import assign, define_role
from .logic_app import ARM, call, definition
from .machine_health import PATH, PORT
from .names import scale_set_name
from .roles import REPAIRS_STOPPER, Grant, Role

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["REPAIRS", "Counter", "counting_workflow", "health_extension", "health_script", "limit_replacements", "make_counter"]

# virtual-machine-scale-sets-automatic-instance-repairs.md of 2026-05-19: 10 to 90 minutes after each change of a machine
REPAIRS: PlainDict = {"enabled": True, "grace_period": "PT10M", "repair_action": "Replace"}
_SCALE_SETS, _STOP = "Microsoft.Compute/virtualMachineScaleSets", "setOrchestrationServiceState"
_FOLDER = Path(__file__).parent
_INSTALLED, _BROKEN = "/usr/local/lib/gpuyard-health.py", "/etc/gpuyard-broken"
# A caller with a token leaves the signature of the trigger's URL out: logic-apps/logic-apps-securing-a-logic-app (authorization policies)
_TRIGGER = "report"
_INVOKE = f"/triggers/{_TRIGGER}/paths/invoke?api-version=2016-10-01"
_LOGIC_API, _COMPUTE_API = "2019-05-01", "2024-07-01"
_LAST_HOUR = "startTime ge @{formatDateTime(addHours(utcNow(), -1), 'yyyy-MM-ddTHH:mm:ssZ')}"
_MOST_RUNS = 250  # of one page. At most 101 machines and their repeated reports matter


class Counter(NamedTuple):
    """The Logic App of a pool."""

    script: pulumi.Output[str]
    """Shell code for the machines, which goes before boot.sh."""
    role: Role
    principal_id: pulumi.Output[str]


def make_counter(pool: GpuPool) -> Counter:
    """Make the Logic App that counts a pool's broken machines. Machines call it with the pool's identity."""
    scale_set = pool.group.id.apply(lambda group: f"{group}/providers/{_SCALE_SETS}/{scale_set_name(this_stack(), pool.logical_name)}")
    flow = az.logic.Workflow(
        pool.child_name("replacements"),
        resource_group_name=pool.group.name,
        identity={"type": "SystemAssigned"},
        state="Enabled",
        access_control={"triggers": {"open_authentication_policies": {"policies": {"machines": _callers(pool)}}}},
        definition=scale_set.apply(lambda known: counting_workflow(known, pool.spec.replacement_limit)),
        tags=pool.azure_tags(),
        opts=pool.child_options(),
    )
    principal = flow.identity.apply(lambda found: str(found.principal_id))
    role = define_role(pool, "stops-repairs", REPAIRS_STOPPER)
    assign(pool, Grant("count-replacements", role, flow.id), principal)
    known = pulumi.Output.all(flow.access_endpoint, pool.identity.client_id)
    return Counter(known.apply(lambda parts: health_script(f"{parts[0]}{_INVOKE}", parts[1])), role, principal)


def limit_replacements(pool: GpuPool, counter: Counter, machines: az.compute.VirtualMachineScaleSet) -> None:
    """Let the Logic App suspend the scale set's repairs, and make an alert that fires when anybody does so, also Azure."""
    assign(pool, Grant("stop-replacements", counter.role, machines.id), counter.principal_id)
    operation = {"category": "Administrative", "operationName": f"{_SCALE_SETS}/{_STOP}/action", "status": "Succeeded"}
    az.monitor.ActivityLogAlert(
        pool.child_name("repairs"),
        resource_group_name=pool.group.name,
        location="global",
        description=pool.stop_message,
        scopes=[machines.id],
        condition={"all_of": [{"field": field, "equals": value} for field, value in operation.items()]},
        actions={"action_groups": []},
        tags=pool.azure_tags(),
        opts=pool.child_options(),
    )


def health_extension() -> PlainDict:
    """Return the extension that asks a machine for its health: Unhealthy after five minutes of the same answer, or of none."""
    settings = {"protocol": "http", "port": PORT, "requestPath": PATH, "intervalInSeconds": 30, "numberOfProbes": 10, "gracePeriod": 1800}
    return {
        "name": "health",
        "publisher": "Microsoft.ManagedServices",
        "type": "ApplicationHealthLinux",
        "type_handler_version": "2.0",
        "auto_upgrade_minor_version": True,
        "settings": settings,
    }


def health_script(report_url: str, client_id: str) -> str:
    """Return shell code that answers health probes and defines `replace_machine`. It contains no secret: the caller needs a token."""
    settings = {"HEALTH": f"$ROOT{_INSTALLED}", "BROKEN": f"$ROOT{_BROKEN}"}
    quoted = {"REPORT_URL": shlex.quote(report_url), "CLIENT_ID": shlex.quote(client_id)}
    program = (_FOLDER / "machine_health.py").read_text(encoding="utf-8")
    return "\n".join(
        [
            *(f"{name}={value}" for name, value in {**settings, **quoted}.items()),
            'mkdir -p "${HEALTH%/*}"',
            f"cat >\"$HEALTH\" <<'PYTHON'\n{program}PYTHON",
            (_FOLDER / "machine_health.sh").read_text(encoding="utf-8"),
        ]
    )


def counting_workflow(scale_set: str, limit: int) -> PlainDict:
    """Return the definition of the Logic App. It counts machines in its own run history, by the tracking ids of the last hour's runs.

    If one of its requests fails, it sends no answer, and the machine stays. `scale_set`: the id of the pool's scale set.
    """
    seen = {"api-version": _LOGIC_API, "$top": _MOST_RUNS, "$filter": _LAST_HOUR}
    machines = "union(body('Read_machines'), createArray(triggerBody()?['machine']))"
    suspend = {"serviceName": "AutomaticRepairs", "action": "Suspend"}
    stop = call("POST", f"{scale_set}/{_STOP}", {"api-version": _COMPUTE_API}, suspend)
    too_many = {
        "type": "If",
        "expression": {"and": [{"greater": [f"@length({machines})", limit]}]},
        "actions": {"Stop": stop, "Refuse": _answer("Stop", replace=False)},
        "else": {"actions": {"Allow": _answer(None, replace=True)}},
        "runAfter": {"Read_machines": ["Succeeded"]},
    }
    text = {"type": "string"}
    report = {"type": "object", "properties": {"machine": text, "reason": text}, "required": ["machine", "reason"]}
    trigger = {
        "type": "Request",
        "kind": "Http",
        "operationOptions": "EnableSchemaValidation",
        "inputs": {"method": "POST", "schema": report},
    }
    read = {
        "type": "Select",
        "inputs": {
            "from": "@body('Find_reports')?['value']",
            "select": "@item()?['properties']?['correlation']?['clientTrackingId']",
        },
        "runAfter": {"Find_reports": ["Succeeded"]},
    }
    actions = {"Find_reports": call("GET", "@{workflow().id}/runs", seen), "Read_machines": read, "Too_many": too_many}
    return definition({_TRIGGER: trigger}, actions)


def _answer(after: str | None, *, replace: bool) -> PlainDict:
    """Return the action that answers the machine."""
    inputs = {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": {"replace": replace}}
    return {"type": "Response", "kind": "Http", "inputs": inputs, "runAfter": {after: ["Succeeded"]} if after else {}}


def _callers(pool: GpuPool) -> PlainDict:
    """Return the policy for callers: tokens of the pool's identity, for Azure Resource Manager."""
    issuer = account(pool).tenant_id.apply(lambda tenant: f"https://sts.windows.net/{tenant}/")
    claims = {"iss": issuer, "aud": f"{ARM}/", "oid": pool.identity.principal_id}
    return {"type": "AAD", "claims": [{"name": name, "value": value} for name, value in claims.items()]}
