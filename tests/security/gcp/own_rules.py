"""Our own rules for Google Cloud resources that Checkov does not check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.security.rows import Row
from tests.security.rules import Rules, secret_in

_IAP = "35.235.240.0/20"  # cloud.google.com/iap/docs/using-tcp-forwarding
_WORLD = ("0.0.0.0/0", "::/0")
_EVERYBODY = ("allUsers", "allAuthenticatedUsers")
_SCOPES = ["cloud-platform", "https://www.googleapis.com/auth/cloud-platform"]
_BROAD = re.compile(r"roles/(owner|editor|viewer|browser)$|[aA]dmin$|roles/storage\.|roles/iam\.|roles/cloudkms\.|roles/secretmanager\.")
_DEFAULT_ACCOUNT = re.compile(r"\d+-compute@developer\.gserviceaccount\.com$")


def _no_external_address(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for number, card in enumerate(row.inputs.get("networkInterfaces") or []):
        if card.get("accessConfigs") or card.get("ipv6AccessConfigs"):  # an empty block requests a public address too
            yield f"network card {number} gets an external address"
        if not card.get("subnetwork") and not card.get("network"):
            yield f"network card {number} is in the project's default network"


def _people_come_by_identity(row: Row, _: Sequence[Row]) -> Iterator[str]:
    metadata = {str(key): str(value).upper() for key, value in (row.inputs.get("metadata") or {}).items()}
    for key, wanted in (("enable-oslogin", "TRUE"), ("block-project-ssh-keys", "TRUE"), ("serial-port-enable", "FALSE")):
        if metadata.get(key) != wanted:
            yield f"metadata {key} must be {wanted}, got {metadata.get(key)}"
    if "ssh-keys" in metadata or "sshKeys" in metadata:
        yield "it carries SSH keys: machines are reached through IAP and OS Login, or not at all"


def _an_account_of_its_own(row: Row, _: Sequence[Row]) -> Iterator[str]:
    account = row.inputs.get("serviceAccount") or {}
    if not account.get("email") or _DEFAULT_ACCOUNT.search(account["email"]):
        yield "its machines act as the project's default service account"
    if any(scope not in _SCOPES for scope in account.get("scopes") or []):
        yield "roles narrow what machines may do; old scopes do not"


def _no_secret_at_boot(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for value in [row.inputs.get("metadataStartupScript"), *(row.inputs.get("metadata") or {}).values()]:
        if found := secret_in(str(value or "")):
            yield f"its metadata has what looks like a secret: {found}"


def _shielded(row: Row, _: Sequence[Row]) -> Iterator[str]:
    shield = row.inputs.get("shieldedInstanceConfig") or {}
    if not (shield.get("enableVtpm") and shield.get("enableIntegrityMonitoring")):
        yield "virtual TPM and integrity monitoring must be on"
    if row.inputs.get("canIpForward"):
        yield "it forwards packets of others"


def _no_kept_address(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("statefulExternalIps"):
        yield "its machines keep external addresses"


def _who_comes_in(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("direction", "INGRESS") != "INGRESS" or not row.inputs.get("allows"):
        return
    ranges = row.inputs.get("sourceRanges") or []
    if ranges == [_IAP]:
        if any(rule.get("protocol") != "tcp" or rule.get("ports") != ["22"] for rule in row.inputs["allows"]):
            yield "through IAP comes more than SSH"
    elif ranges:
        yield f"it lets addresses in: {', '.join(ranges)}; name a service account"
    elif not row.inputs.get("sourceServiceAccounts") and not row.inputs.get("sourceTags"):
        yield "it lets everybody in: name a service account"
    if not row.inputs.get("targetServiceAccounts"):
        yield "it is about every machine of the network, not about those of one service account"


def _what_goes_out(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("direction") != "EGRESS" or not set(row.inputs.get("destinationRanges") or _WORLD) & set(_WORLD):
        return
    if any((rule.get("protocol"), rule.get("ports")) != ("tcp", ["443"]) for rule in row.inputs.get("allows") or []):
        yield "everything may go out to the internet, not HTTPS alone"


def _own_subnets_alone(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("autoCreateSubnetworks") is not False:
        yield "it makes subnets by itself in every region"


def _private_subnet(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("stackType", "IPV4_ONLY") != "IPV4_ONLY" and row.inputs.get("ipv6AccessType") != "INTERNAL":
        yield "machines in it get IPv6 addresses of the internet"


def _named_subnets_go_out(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("sourceSubnetworkIpRangesToNat") != "LIST_OF_SUBNETWORKS":
        yield "every subnet of the network, also a later one, goes out through it"
    if not (row.inputs.get("logConfig") or {}).get("enable"):
        yield "what fails on the way out is logged nowhere"


def _no_external_address_of_its_own(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("addressType", "EXTERNAL") == "EXTERNAL":
        yield "it is an address of the internet"


def _members(row: Row, _: Sequence[Row]) -> Iterator[str]:
    member = str(row.inputs.get("member"))
    if member in _EVERYBODY:
        yield f"{member} has {row.inputs.get('role')}"
    if member.startswith("principalSet:") and member.endswith("/*"):
        yield "whoever has a token of that pool has it: no subject is named"


def _narrow_on_the_project(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if _BROAD.search(role := str(row.inputs.get("role"))):
        yield f"{role} on the whole project"


def _narrow_on_a_bucket(row: Row, _: Sequence[Row]) -> Iterator[str]:
    role = str(row.inputs.get("role"))
    if role.endswith("dmin") or ".legacy" in role:
        yield f"{role} can change who may read the bucket"


def _reads_secrets_alone(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("role") != "roles/secretmanager.secretAccessor":
        yield f"{row.inputs.get('role')} on a secret: reading it is all a job needs"


def _one_by_one(row: Row, _: Sequence[Row]) -> Iterator[str]:
    wide = [word for word in row.inputs.get("permissions") or [] if "*" in word or word.endswith((".setIamPolicy", ".actAs"))]
    if wide:
        yield f"a role of the project has {', '.join(wide)}"


def _subjects_by_name(row: Row, _: Sequence[Row]) -> Iterator[str]:
    condition = str(row.inputs.get("attributeCondition") or "")
    if "assertion.sub" not in condition and "google.subject" not in condition:
        yield "whoever has a token of that issuer may come: no subject is named"
    if row.inputs.get("oidc") and not str(row.inputs["oidc"].get("issuerUri")).startswith("https://"):
        yield "its issuer is not reached over HTTPS"


def _outlives_the_yard(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if not row.kept and row.inputs.get("destroyScheduledDuration") != "2592000s":
        yield "a destroy ends the key, and with it all that it encrypted, in less than 30 days"


def _seen_inside_alone(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("visibility") != "private":
        yield "the internet sees its names"


def _as_a_service_account(row: Row, _: Sequence[Row]) -> Iterator[str]:
    target = row.inputs.get("httpTarget") or {}
    if not (target.get("oauthToken") or target.get("oidcToken") or {}).get("serviceAccountEmail"):
        yield "it calls without a service account"
    if not str(target.get("uri")).startswith("https://"):
        yield "it calls without TLS"


def _jobs_have_their_own_account(row: Row, _: Sequence[Row]) -> Iterator[str]:
    account: dict[str, Any] = (row.inputs.get("resourceRuntimeSpec") or {}).get("serviceAccountSpec") or {}
    if not account.get("enableCustomServiceAccount"):
        yield "jobs on it act as Vertex AI's shared service agent"


RULES: Rules = {
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": (_members,),
    "gcp:cloudscheduler/job:Job": (_as_a_service_account,),
    "gcp:compute/address:Address": (_no_external_address_of_its_own,),
    "gcp:compute/firewall:Firewall": (_who_comes_in, _what_goes_out),
    "gcp:compute/instanceGroupManager:InstanceGroupManager": (_no_kept_address,),
    "gcp:compute/instanceTemplate:InstanceTemplate": (
        _no_external_address,
        _people_come_by_identity,
        _an_account_of_its_own,
        _no_secret_at_boot,
        _shielded,
    ),
    "gcp:compute/network:Network": (_own_subnets_alone,),
    "gcp:compute/routerNat:RouterNat": (_named_subnets_go_out,),
    "gcp:compute/subnetwork:Subnetwork": (_private_subnet,),
    "gcp:dns/managedZone:ManagedZone": (_seen_inside_alone,),
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": (_subjects_by_name,),
    "gcp:kms/cryptoKey:CryptoKey": (_outlives_the_yard,),
    "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember": (_members,),
    "gcp:projects/iAMCustomRole:IAMCustomRole": (_one_by_one,),
    "gcp:projects/iAMMember:IAMMember": (_members, _narrow_on_the_project),
    "gcp:secretmanager/secretIamMember:SecretIamMember": (_members, _reads_secrets_alone),
    "gcp:serviceaccount/iAMMember:IAMMember": (_members,),
    "gcp:storage/bucketIAMMember:BucketIAMMember": (_members, _narrow_on_a_bucket),
    "gcp:vertex/aiPersistentResource:AiPersistentResource": (_jobs_have_their_own_account,),
}
