"""How Google Cloud forms ids, links and names, which properties force a replacement, and the results of look-ups."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.fakes.pulumi_provider import sdk_schema
from tests.fakes.pulumi_provider.resource_rules import ResourceRules, digits

PROJECT, NUMBER, REGION, ZONE = "acme-ml", "123456789012", "us-central1", "us-central1-a"
_HERE = {"project": PROJECT, "region": REGION, "zone": ZONE, "location": REGION}
_ACCOUNT = "gcp:serviceaccount/account:Account"
_BUCKET = "gcp:storage/bucket:Bucket"
_TEMPLATE = "gcp:compute/instanceTemplate:InstanceTemplate"
_NETWORK, _SUBNET = "gcp:compute/network:Network", "gcp:compute/subnetwork:Subnetwork"
_POOL = "projects/{project}/locations/global/workloadIdentityPools/{workloadIdentityPoolId}"

# Type -> its id, formed from its properties: registry.terraform.io/providers/hashicorp/google, "Attributes Reference" of each.
_IDS = {
    "gcp:artifactregistry/repository:Repository": "projects/{project}/locations/{location}/repositories/{repositoryId}",
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": "{repository}/{role}/{member}",
    "gcp:billing/budget:Budget": "billingAccounts/{billingAccount}/budgets/{generated}",
    "gcp:cloudscheduler/job:Job": "projects/{project}/locations/{region}/jobs/{name}",
    "gcp:compute/firewall:Firewall": "projects/{project}/global/firewalls/{name}",
    "gcp:compute/instanceGroupManager:InstanceGroupManager": "projects/{project}/zones/{zone}/instanceGroupManagers/{name}",
    "gcp:compute/networkAttachment:NetworkAttachment": "projects/{project}/regions/{region}/networkAttachments/{name}",
    "gcp:compute/reservation:Reservation": "projects/{project}/zones/{zone}/reservations/{name}",
    "gcp:compute/resizeRequest:ResizeRequest": (
        "projects/{project}/zones/{zone}/instanceGroupManagers/{instanceGroupManager}/resizeRequests/{name}"
    ),
    "gcp:compute/resourcePolicy:ResourcePolicy": "projects/{project}/regions/{region}/resourcePolicies/{name}",
    "gcp:compute/router:Router": "projects/{project}/regions/{region}/routers/{name}",
    "gcp:compute/routerNat:RouterNat": "{project}/{region}/{router}/{name}",
    "gcp:dns/managedZone:ManagedZone": "projects/{project}/managedZones/{name}",
    "gcp:dns/recordSet:RecordSet": "projects/{project}/managedZones/{managedZone}/rrsets/{name}/{type}",
    "gcp:iam/workloadIdentityPool:WorkloadIdentityPool": _POOL,
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": f"{_POOL}/providers/{{workloadIdentityPoolProviderId}}",
    "gcp:kms/cryptoKey:CryptoKey": "{keyRing}/cryptoKeys/{name}",
    "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember": "{cryptoKeyId}/{role}/{member}",
    "gcp:kms/keyRing:KeyRing": "projects/{project}/locations/{location}/keyRings/{name}",
    "gcp:logging/logView:LogView": "{parent}/locations/{location}/buckets/{bucket}/views/{name}",
    "gcp:logging/logViewIamMember:LogViewIamMember": "{parent}/locations/{location}/buckets/{bucket}/views/{name}/{role}/{member}",
    "gcp:monitoring/alertPolicy:AlertPolicy": "projects/{project}/alertPolicies/{generated}",
    "gcp:monitoring/notificationChannel:NotificationChannel": "projects/{project}/notificationChannels/{generated}",
    "gcp:projects/iAMCustomRole:IAMCustomRole": "projects/{project}/roles/{roleId}",
    "gcp:projects/iAMMember:IAMMember": "{project}/{role}/{member}",
    "gcp:projects/service:Service": "{project}/{service}",
    "gcp:projects/serviceIdentity:ServiceIdentity": "projects/{project}/services/{service}",
    "gcp:pubsub/topic:Topic": "projects/{project}/topics/{name}",
    "gcp:pubsub/topicIAMMember:TopicIAMMember": "{topic}/{role}/{member}",
    "gcp:secretmanager/secretIamMember:SecretIamMember": "{secretId}/{role}/{member}",
    "gcp:serviceaccount/iAMMember:IAMMember": "{serviceAccountId}/{role}/{member}",
    "gcp:storage/bucketIAMMember:BucketIAMMember": "b/{bucket}/{role}/{member}",
    "gcp:storage/bucketObject:BucketObject": "{bucket}-{name}",
    "gcp:vertex/aiPersistentResource:AiPersistentResource": "projects/{project}/locations/{location}/persistentResources/{name}",
    "gcp:workflows/workflow:Workflow": "projects/{project}/locations/{region}/workflows/{name}",
    _ACCOUNT: f"projects/{{project}}/serviceAccounts/{{accountId}}@{PROJECT}.iam.gserviceaccount.com",
    _BUCKET: "{name}",
    _NETWORK: "projects/{project}/global/networks/{name}",
    _SUBNET: "projects/{project}/regions/{region}/subnetworks/{name}",
    _TEMPLATE: "projects/{project}/global/instanceTemplates/{name}",
}
_NAMED_BY = {
    "gcp:artifactregistry/repository:Repository": "repositoryId",
    "gcp:iam/workloadIdentityPool:WorkloadIdentityPool": "workloadIdentityPoolId",
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": "workloadIdentityPoolProviderId",
    "gcp:projects/iAMCustomRole:IAMCustomRole": "roleId",
    _ACCOUNT: "accountId",
}
_CHANGES = {"deletionPolicy", "labels"}  # the properties of an instance template that can change in place
_GRANT = frozenset({"role", "member", "condition", "bucket", "repository", "cryptoKeyId", "secretId", "serviceAccountId", "topic"})
_FIXED: Mapping[str, frozenset[str]] = {
    "*": frozenset({"name", "namePrefix", "project", "region", "zone", "network", "location", *_NAMED_BY.values()}),
    "gcp:artifactregistry/repository:Repository": frozenset({"format", "kmsKeyName", "mode"}),
    "gcp:billing/budget:Budget": frozenset({"billingAccount"}),
    "gcp:compute/firewall:Firewall": frozenset({"direction"}),
    "gcp:compute/networkAttachment:NetworkAttachment": frozenset({"connectionPreference", "description"}),
    "gcp:compute/resizeRequest:ResizeRequest": frozenset({"instanceGroupManager", "resizeBy", "requestedRunDuration"}),
    "gcp:compute/resourcePolicy:ResourcePolicy": frozenset({"groupPlacementPolicy", "workloadPolicy"}),
    "gcp:compute/routerNat:RouterNat": frozenset({"router"}),
    "gcp:kms/cryptoKey:CryptoKey": frozenset({"keyRing", "purpose"}),
    "gcp:storage/bucket:Bucket": frozenset({"hierarchicalNamespace", "customPlacementConfig"}),
    _NETWORK: frozenset({"autoCreateSubnetworks", "mtu", "networkProfile", "description"}),
    _SUBNET: frozenset({"ipCidrRange", "purpose"}),
    **{token: _GRANT for token in _IDS if token.lower().endswith("iammember")},
}
LOOK_UPS: Mapping[str, Mapping[str, Any]] = {
    "gcp:compute/getImage:getImage": {
        "id": "projects/images/global/images/image-1",
        "name": "image-1",
        "selfLink": "https://www.googleapis.com/compute/v1/projects/images/global/images/image-1",
    },
    "gcp:organizations/getClientConfig:getClientConfig": {
        "accessToken": "",
        "defaultLabels": {},
        "id": PROJECT,
        "project": PROJECT,
        "region": REGION,
        "zone": ZONE,
    },
    "gcp:organizations/getProject:getProject": {
        "billingAccount": "01AB23-45CD67-89EF01",
        "id": f"projects/{PROJECT}",
        "projectId": PROJECT,
        "number": NUMBER,
        "name": PROJECT,
    },
    "gcp:storage/getProjectServiceAccount:getProjectServiceAccount": {
        "emailAddress": f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com",
        "id": f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com",
        "member": f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com",
        "project": PROJECT,
    },
}


class Refusal(NamedTuple):
    """A rule that Google checks at a create, with its source and the day on which the source was read."""

    token: str
    holds: Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
    """Function of (inputs, the provider's configuration) that returns whether Google accepts the create."""
    answer: str
    source: str
    date: str


REFUSALS = (
    Refusal(
        "gcp:billing/budget:Budget",
        lambda inputs, config: bool(config.get("billingProject")) and str(config.get("userProjectOverride")).lower() == "true",
        "Error 403: The billingbudgets.googleapis.com API requires a quota project, which is not set by default.",
        "pulumi.com/registry/packages/gcp/api-docs/billing/budget, Warning: User ADCs",
        "2026-12-01",
    ),
    Refusal(
        "gcp:billing/budget:Budget",
        lambda inputs, config: bool(inputs.get("billingAccount")),
        "Error 400: Request contains an invalid argument: parent billingAccounts/",
        "cloud.google.com/billing/docs/reference/budget/rest/v1/billingAccounts.budgets/create",
        "2026-12-01",
    ),
    Refusal(
        "gcp:storage/bucketIAMMember:BucketIAMMember",
        lambda inputs, config: inputs.get("member") != "group:cloud-storage-analytics@google.com",
        "Error 412: One or more users named in the policy do not belong to a permitted customer.",
        "cloud.google.com/resource-manager/docs/secure-by-default-organizations, iam.allowedPolicyMemberDomains, on since 2024-05-03",
        "2026-12-01",
    ),
    Refusal(
        "gcp:compute/firewall:Firewall",
        lambda inputs, config: str(inputs["network"]).split("/global/")[0].split("/")[-1] == (inputs.get("project") or PROJECT),
        "Error 400: Invalid value for field 'resource.network'. Cross project referencing is not allowed for this resource.",
        "github.com/terraform-google-modules/terraform-google-bastion-host/issues/5, a Shared VPC's network with a service project's rule",
        "2026-12-01",
    ),
)


# Service agents that do not exist before the first use of their service: domain of the account -> service.
# cloud.google.com/iam/docs/create-service-agents; modules/project of GoogleCloudPlatform/cloud-foundation-fabric@11c1d24 makes them.
_LATE_AGENTS = {"gcp-sa-aiplatform": "aiplatform", "gcp-sa-artifactregistry": "artifactregistry"}
_AGENT = re.compile(r"serviceAccount:service-\d+@([a-z-]+)\.iam\.gserviceaccount\.com")


def refusals(token: str, inputs: Mapping[str, Any], find: Callable[[str], Mapping[str, Any] | None]) -> list[str]:
    """Return the messages with which Google refuses a create. `find` returns the inputs of another resource by its id."""
    agent = _AGENT.fullmatch(str(inputs.get("member")))
    service = _LATE_AGENTS.get(agent[1]) if agent else None
    if service is None or find(f"projects/{PROJECT}/services/{service}.googleapis.com") is not None:
        return []
    return [f"Error 400: Service account {inputs['member']} does not exist."]


def _refused(token: str, inputs: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    return next((row.answer for row in REFUSALS if row.token == token and not row.holds(inputs, config)), None)


def _fixes(token: str) -> frozenset[str]:
    """Return all properties of an instance template that cannot change in place."""
    return frozenset(set(sdk_schema.resource(token).inputs) - _CHANGES) if token == _TEMPLATE else frozenset()


def _places(token: str) -> tuple[str, ...]:
    return tuple(field for _, field, _, _ in string.Formatter().parse(_IDS.get(token, "")) if field)


def _made(token: str, urn: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the id, which is the resource's path in its project, and the link, which is the service's URL and that path."""
    label = urn.rpartition("::")[2]
    words = {**_HERE, "name": label, "generated": digits(urn), **{key: value for key, value in inputs.items() if value is not None}}
    service, _, rest = token.removeprefix("gcp:").partition("/")
    plain = f"projects/{{project}}/global/{rest.partition(':')[0]}s/{{name}}"
    path = _IDS.get(token, plain).format_map(_Blank(words))
    if token == _ACCOUNT:
        email = path.rpartition("/")[2]
        return path, {"email": email, "member": f"serviceAccount:{email}", "name": path}
    if token == _BUCKET:
        return path, {"url": f"gs://{path}", "selfLink": f"https://www.googleapis.com/storage/v1/b/{path}"}
    link = f"https://www.googleapis.com/{service}/v1/{path}"
    more = {"selfLinkUnique": f"{link}?uniqueId={digits(path)}"} if token == _TEMPLATE else {}
    named = {"name": path} if token in _NAMED_BY or "{generated}" in _IDS.get(token, "") else {}
    return path, {"selfLink": link, **more, **named}


class _Blank(dict[str, Any]):
    """A mapping in which a missing key is a dash."""

    def __missing__(self, key: str) -> str:
        return "-"


def _computed(name: str, made_id: str) -> Any:
    return {**_HERE, "projectNumber": int(NUMBER)}.get(name)


def _name(token: str, label: str, generated: str) -> str:
    return generated.lower()


SHAPES = ResourceRules(
    look_ups=LOOK_UPS,
    fixed=_FIXED,
    renewed={},
    refused=_refused,
    refusals=refusals,
    # a template is only a text for later machines: cloud.google.com/compute/docs/instance-templates (2026-12-01)
    holds_nothing=frozenset({_TEMPLATE}),
    undeletable={
        # while machines made from it run: github.com/hashicorp/terraform-provider-google/issues/10365, /6277
        _TEMPLATE: "Error 400: The instance_template resource is already being used, resourceInUseByAnotherResource",  # 2026-12-01
        # while machines are connected, and some days after a Vertex AI job: github.com/hashicorp/terraform-provider-google/issues/24145
        "gcp:compute/networkAttachment:NetworkAttachment": "Error 412: The network attachment has connected endpoints.",  # 2026-12-01
    },
    # for 7 to 37 days: cloud.google.com/iam/docs/creating-custom-roles#deleting-custom-role (2026-12-01)
    blocked=frozenset({"gcp:projects/iAMCustomRole:IAMCustomRole"}),
    named_by=_NAMED_BY,
    made=_made,
    held=frozenset({_NETWORK, _SUBNET, _TEMPLATE, "gcp:compute/router:Router", "gcp:compute/resourcePolicy:ResourcePolicy"}),
    computed=_computed,
    name=_name,
    all_fixed=_fixes,
    places=_places,
)
