"""Checks of a stack on Google Cloud: project, APIs, quotas, agents, organisation policies, reservations, images, buckets, subnets.

Each call only reads. A check whose permission is missing says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, urlencode

from gpuyard.components.planning.document import Need
from gpuyard.components.planning.yard import RecordedPool
from gpuyard.components.spec.capacity import FlexStart, Reservation
from gpuyard.plain_data import PlainDict
from gpuyard.training_jobs.clouds.gcp import GcpClients, gcp_clients
from gpuyard.training_jobs.errors import NotFoundError

from .check import Check, StackFacts
from .common import adopted, has_pipelines, images, quotas_to_request, run_checks, targets_check

__all__ = ["APIS", "checks"]

APIS = (
    "aiplatform", "artifactregistry", "billingbudgets", "cloudbilling", "cloudkms", "cloudresourcemanager", "cloudscheduler", "compute",
    "dns", "iam", "iamcredentials", "iap", "logging", "monitoring", "pubsub", "secretmanager", "serviceusage", "storage", "sts",
    "workflowexecutions", "workflows",
)  # fmt: skip
"""APIs that a yard uses, each with .googleapis.com (docs/gcp.md)."""
_IMAGE = re.compile(
    r"(?P<region>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<name>[^@]+)@(?P<digest>sha256:\w+)"
)
_AGENT_ROLE = "roles/aiplatform.serviceAgent"


class _Policy(NamedTuple):
    """An organisation policy that refuses a resource of the yard."""

    constraint: str
    concerns: Callable[[StackFacts], bool]
    refuses: str
    fix: str


# cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints, read on 2026-12-01
_POLICIES = (
    _Policy("compute.requireShieldedVm", lambda facts: _has_service(facts, "vms"), "machines without Secure Boot",
            "ask for an exception for this project, or use service: vertex"),
    _Policy("iam.allowedPolicyMemberDomains", lambda facts: _logs_access(facts), "the grant to Google's group for access logs",
            "remove access_logs"),
    _Policy("iam.disableServiceAccountCreation", lambda facts: True, "new service accounts", "ask for an exception for this project"),
    _Policy("compute.restrictCloudNATUsage", lambda facts: _has_nat(facts), "Cloud NAT", "set egress: endpoints, or ask for an exception"),
    _Policy("iam.workloadIdentityPoolProviders", has_pipelines, "token issuers outside its list",
            "ask to allow https://token.actions.githubusercontent.com"),
)  # fmt: skip


def checks(facts: StackFacts, google: GcpClients | None = None) -> Iterator[Check]:
    """Yield every check of the stack. `google` replaces the clients of the stack's project and region."""
    region, project = facts.yard.regions.get("gcp"), facts.config.get("gcp:project")
    for key, value in (("region", region), ("project", project)):
        yield Check(key, value is not None, value or f"gcp:{key} is not set", None if value else "set it in the stack file")
    if region is None or project is None:
        return
    clients = google or gcp_clients(project, region)
    rows: list[tuple[str, Callable[[], Check | None]]] = [
        ("identity", lambda: _project(project, clients)),
        ("APIs", lambda: _apis(project, clients)),
        *((f"quota {need.code or need.name}", partial(_quota, need, project, clients)) for need in quotas_to_request(facts, region)),
        ("agent", lambda: _agent(facts, project, clients)),
        *((f"policy {row.constraint}", partial(_policy, row, project, clients)) for row in _POLICIES if row.concerns(facts)),
        *((f"reservation of {pool.name}", partial(_reservation, pool, clients)) for pool in facts.yard.pools),
        *((f"pool {pool.name}", partial(_machine_group, pool, project, clients)) for pool in facts.yard.pools),
        *((f"image {image}", partial(_image, image, clients)) for image in images(facts)),
        *((f"bucket {name}", partial(_bucket, name, clients)) for name in adopted(facts, "existing")),
        *((f"subnet {subnet}", partial(_subnet, subnet, clients)) for subnet in _subnets(facts)),
        ("targets.json", lambda: targets_check(facts)),
    ]
    yield from run_checks(rows)


def _project(project: str, google: GcpClients) -> Check:
    found = google.read("cloudresourcemanager", f"v1/projects/{project}")
    state = str(found["lifecycleState"])
    return Check("identity", state == "ACTIVE", f"project {project} is {state}", None if state == "ACTIVE" else "take another project")


def _apis(project: str, google: GcpClients) -> Check:
    listed = _pages(google, "serviceusage", f"v1/projects/{project}/services", "services", filter="state:ENABLED")
    enabled = {str(each["config"]["name"]) for each in listed}
    missing = [f"{api}.googleapis.com" for api in APIS if f"{api}.googleapis.com" not in enabled]
    if not missing:
        return Check("APIs", True, f"{len(APIS)} are enabled", None)
    return Check("APIs", False, f"not enabled: {', '.join(missing)}", f"gcloud services enable {' '.join(missing)} --project {project}")


def _quota(need: Need, project: str, google: GcpClients) -> Check:
    """Compare a quota with the need. Cloud Quotas names it by an id or by its metric; dimensions select region and GPU family."""
    name = f"quota {need.code or need.name}"
    service = "aiplatform" if need.name.startswith("Vertex AI") else "compute"
    if need.code is None:
        return Check(name, True, f"{need.name}: not checked, its name is not known", None)
    path = f"v1/projects/{project}/locations/global/services/{service}.googleapis.com/quotaInfos"
    for info in _pages(google, "cloudquotas", path, "quotaInfos"):
        if info["quotaId"] == need.code or str(info.get("metric")).rpartition("/")[2] == need.code.lower():
            value = _limit(info, need)
            if value is not None:
                return _compared(name, need, value, f"{service}.googleapis.com", str(info["quotaId"]), project)
    return Check(name, False, f"{need.name}: no such quota in {need.region}", "look for it in the console, IAM & Admin, Quotas")


def _limit(info: PlainDict, need: Need) -> int | None:
    """Return the limit of the need's region and GPU family; None if the quota has no such row. -1 means no limit."""
    family = need.name.removeprefix("gpu_family ") if need.name.startswith("gpu_family ") else None
    rows: list[PlainDict] = info.get("dimensionsInfos", [])
    for row in rows:
        dimensions = row.get("dimensions", {})
        places = [dimensions["region"]] if "region" in dimensions else row.get("applicableLocations", [])
        if (need.region is None or need.region in places) and dimensions.get("gpu_family") in (None, family):
            return int(row["details"].get("value", 0))
    return None


def _compared(name: str, need: Need, value: int, service: str, quota: str, project: str) -> Check:
    detail = f"{need.name}: {'no limit' if value < 0 else value} {need.unit}, the pools {', '.join(need.pools)} need {need.amount}"
    if value < 0 or value >= need.amount:
        return Check(name, True, detail, None)
    place = f" --dimensions region={need.region}" if need.region else ""
    ask = f"gcloud beta quotas preferences create --project {project} --service {service} --quota-id {quota}{place}"
    return Check(name, False, detail, f"{ask} --preferred-value {need.amount}")


def _agent(facts: StackFacts, project: str, google: GcpClients) -> Check | None:
    """Return whether Vertex AI's service agent has its role. None without a `vertex` pool."""
    if not _has_service(facts, "vertex"):
        return None
    policy = google.read("cloudresourcemanager", f"v1/projects/{project}:getIamPolicy", {})
    members = [member for row in policy.get("bindings", []) if row["role"] == _AGENT_ROLE for member in row["members"]]
    agents = [member for member in members if member.endswith("@gcp-sa-aiplatform.iam.gserviceaccount.com")]
    if agents:
        return Check("agent", True, agents[0].removeprefix("serviceAccount:"), None)
    fix = f"gcloud beta services identity create --service aiplatform.googleapis.com --project {project}, then grant it {_AGENT_ROLE}"
    return Check("agent", False, f"Vertex AI's service agent does not have {_AGENT_ROLE}; the first `pulumi up` makes it", fix)


def _policy(row: _Policy, project: str, google: GcpClients) -> Check:
    policy = google.read("orgpolicy", f"v2/projects/{project}/policies/{row.constraint}:getEffectivePolicy")
    rules = policy.get("spec", {}).get("rules", [])
    active = any(rule.get("enforce") or rule.get("denyAll") or "values" in rule for rule in rules)
    detail = f"refuses {row.refuses}" if active else "refuses nothing of the yard"
    return Check(f"policy {row.constraint}", not active, detail, row.fix if active else None)


def _reservation(pool: RecordedPool, google: GcpClients) -> Check | None:
    """Return whether the pool's reservation exists, has its machine and nodes, and is shared with Vertex AI for a `vertex` pool."""
    if not isinstance(pool.spec.capacity, Reservation) or pool.machine is None:
        return None
    name, path = f"reservation of {pool.name}", pool.spec.capacity.reservation
    try:
        found = google.read("compute", f"compute/v1/{path}")
    except NotFoundError:
        return Check(name, False, f"{path} does not exist", "correct capacity.reservation")
    machines = found["specificReservation"]
    kind, count = machines["instanceProperties"]["machineType"], int(machines["count"])
    if kind != pool.machine.name or count < pool.spec.max_nodes:
        wanted = f"the pool needs {pool.spec.max_nodes} x {pool.machine.name}"
        return Check(name, False, f"it has {count} x {kind}, {wanted}", "correct the pool, or the reservation")
    shared = found.get("reservationSharingPolicy", {}).get("serviceShareType") == "ALLOW_ALL"
    if pool.spec.service == "vertex" and not shared:
        words = path.split("/")
        fix = f"gcloud compute reservations update {words[5]} --zone {words[3]} --reservation-sharing-policy=ALLOW_ALL"
        return Check(name, False, "it is not shared with Vertex AI", fix)
    return Check(name, True, f"{count} x {kind}, {machines.get('inUseCount', 0)} in use", None)


def _machine_group(pool: RecordedPool, project: str, google: GcpClients) -> Check | None:
    """Return whether the group of a `vms` pool replaces broken machines. None before the first `pulumi up`, and with flex start.

    After too many replacements of broken machines the yard turns the group's repairs off.
    """
    if pool.spec.service != "vms" or isinstance(pool.spec.capacity, FlexStart):
        return None
    query = urlencode({"filter": f'baseInstanceName="{pool.name}-machines"'})
    path = f"compute/v1/projects/{project}/zones/{pool.spec.zone}/instanceGroupManagers"
    actions = [
        each.get("instanceLifecyclePolicy", {}).get("defaultActionOnFailure")
        for each in google.read("compute", f"{path}?{query}").get("items", [])
    ]
    if not actions:
        return None
    if "DO_NOTHING" not in actions:
        return Check(f"pool {pool.name}", True, "its instance group replaces broken machines", None)
    fix = "repair the cause, then `pulumi up --refresh` turns them on again (docs/gcp.md)"
    return Check(
        f"pool {pool.name}", False, "its instance group replaces no machines, because its repairs are off: too many were broken", fix
    )


def _image(image: str, google: GcpClients) -> Check:
    match = _IMAGE.fullmatch(image)
    if match is None:
        return Check(f"image {image}", True, "not checked: it is not in Artifact Registry", None)
    place = f"projects/{match['project']}/locations/{match['region']}/repositories/{match['repository']}"
    path = f"v1/{place}/packages/{quote(match['name'], safe='')}/versions/{match['digest']}"
    return _exists(f"image {image}", google, "artifactregistry", path, "push it, then `gpuyard pin`")


def _bucket(name: str, google: GcpClients) -> Check:
    return _exists(f"bucket {name}", google, "storage", f"storage/v1/b/{name}", "correct `existing` in gpuyard:buckets")


def _exists(name: str, google: GcpClients, service: str, path: str, fix: str) -> Check:
    try:
        google.read(service, path)
    except NotFoundError:
        return Check(name, False, "does not exist", fix)
    return Check(name, True, "exists", None)


def _subnet(subnet: str, google: GcpClients) -> Check:
    path = subnet[subnet.index("projects/") :]
    if google.read("compute", f"compute/v1/{path}").get("privateIpGoogleAccess"):
        return Check(f"subnet {subnet}", True, "it has Private Google Access", None)
    words = path.split("/")
    place = f"--project {words[1]} --region {words[3]}"
    fix = f"gcloud compute networks subnets update {words[5]} {place} --enable-private-ip-google-access"
    return Check(f"subnet {subnet}", False, "its machines without an external address cannot reach Google's APIs", fix)


def _pages(google: GcpClients, service: str, path: str, key: str, **query: str) -> Iterator[PlainDict]:
    token = ""
    while True:
        page = google.read(service, f"{path}?{urlencode({**query, 'pageSize': 200, **({'pageToken': token} if token else {})})}")
        yield from page.get(key, [])
        token = page.get("nextPageToken", "")
        if not token:
            return


def _has_service(facts: StackFacts, service: str) -> bool:
    return any(pool.spec.service == service for pool in facts.yard.pools)


def _has_nat(facts: StackFacts) -> bool:
    return any(network.inputs.get("egress") == "nat" for network in facts.yard.named("Network"))


def _logs_access(facts: StackFacts) -> bool:
    return any(bucket.inputs.get("access_logs") for bucket in facts.yard.named("Bucket"))


def _subnets(facts: StackFacts) -> list[str]:
    """Return the subnets of existing networks."""
    existing = (network.inputs.get("existing") for network in facts.yard.named("Network"))
    found = (value for each in existing if isinstance(each, dict) for value in each.get("subnet_ids", {}).values())
    return sorted({subnet for subnet in found if isinstance(subnet, str)})
