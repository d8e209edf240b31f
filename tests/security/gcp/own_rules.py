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


def _uses_os_login(row: Row, _: Sequence[Row]) -> Iterator[str]:
    metadata = {str(key): str(value).upper() for key, value in (row.inputs.get("metadata") or {}).items()}
    for key, wanted in (("enable-oslogin", "TRUE"), ("block-project-ssh-keys", "TRUE"), ("serial-port-enable", "FALSE")):
        if metadata.get(key) != wanted:
            yield f"metadata {key} must be {wanted}, got {metadata.get(key)}"
    if "ssh-keys" in metadata or "sshKeys" in metadata:
        yield "it has SSH keys: use IAP and OS Login for access"


def _own_service_account(row: Row, _: Sequence[Row]) -> Iterator[str]:
    account = row.inputs.get("serviceAccount") or {}
    if not account.get("email") or _DEFAULT_ACCOUNT.search(account["email"]):
        yield "its machines use the project's default service account"
    if any(scope not in _SCOPES for scope in account.get("scopes") or []):
        yield "its access scopes must be cloud-platform: roles limit its machines"


def _no_secret_at_boot(row: Row, _: Sequence[Row]) -> Iterator[str]:
    for value in [row.inputs.get("metadataStartupScript"), *(row.inputs.get("metadata") or {}).values()]:
        if found := secret_in(str(value or "")):
            yield f"its metadata contains what looks like a secret: {found}"


def _shielded_machine(row: Row, _: Sequence[Row]) -> Iterator[str]:
    shield = row.inputs.get("shieldedInstanceConfig") or {}
    if not (shield.get("enableVtpm") and shield.get("enableIntegrityMonitoring")):
        yield "virtual TPM and integrity monitoring must be on"
    if row.inputs.get("canIpForward"):
        yield "it forwards IP packets"


def _no_stateful_address(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("statefulExternalIps"):
        yield "its machines get external addresses"


def _ingress(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("direction", "INGRESS") != "INGRESS" or not row.inputs.get("allows"):
        return
    ranges = row.inputs.get("sourceRanges") or []
    if ranges == [_IAP]:
        if any(rule.get("protocol") != "tcp" or rule.get("ports") != ["22"] for rule in row.inputs["allows"]):
            yield "it allows more than SSH through IAP"
    elif ranges:
        yield f"it allows ingress from addresses: {', '.join(ranges)}; name a service account"
    elif not row.inputs.get("sourceServiceAccounts") and not row.inputs.get("sourceTags"):
        yield "it allows ingress from everywhere: name a service account"
    if not row.inputs.get("targetServiceAccounts"):
        yield "it applies to every machine of the network: name a service account"


def _egress(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("direction") != "EGRESS" or not set(row.inputs.get("destinationRanges") or _WORLD) & set(_WORLD):
        return
    if any((rule.get("protocol"), rule.get("ports")) != ("tcp", ["443"]) for rule in row.inputs.get("allows") or []):
        yield "it allows egress to the internet other than HTTPS"


def _no_automatic_subnets(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("autoCreateSubnetworks") is not False:
        yield "it creates a subnet in every region"


def _private_subnet(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("stackType", "IPV4_ONLY") != "IPV4_ONLY" and row.inputs.get("ipv6AccessType") != "INTERNAL":
        yield "its machines get public IPv6 addresses"


def _nat_names_its_subnets(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("sourceSubnetworkIpRangesToNat") != "LIST_OF_SUBNETWORKS":
        yield "every subnet of the network uses it, also later ones"
    if not (row.inputs.get("logConfig") or {}).get("enable"):
        yield "failed egress is not logged"


def _no_public_address_resource(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("addressType", "EXTERNAL") == "EXTERNAL":
        yield "it is a public address"


def _members(row: Row, _: Sequence[Row]) -> Iterator[str]:
    member = str(row.inputs.get("member"))
    if member in _EVERYBODY:
        yield f"{member} has {row.inputs.get('role')}"
    if member.startswith("principalSet:") and member.endswith("/*"):
        yield "any token of the pool has it: no subject is named"


def _narrow_project_role(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if _BROAD.search(role := str(row.inputs.get("role"))):
        yield f"{role} on the whole project"


def _narrow_bucket_role(row: Row, _: Sequence[Row]) -> Iterator[str]:
    role = str(row.inputs.get("role"))
    if role.endswith("dmin") or ".legacy" in role:
        yield f"{role} can change who may read the bucket"


def _reads_secrets_only(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("role") != "roles/secretmanager.secretAccessor":
        yield f"{row.inputs.get('role')} on a secret: a job needs read access only"


def _permissions_without_wildcards(row: Row, _: Sequence[Row]) -> Iterator[str]:
    wide = [word for word in row.inputs.get("permissions") or [] if "*" in word or word.endswith((".setIamPolicy", ".actAs"))]
    if wide:
        yield f"a role of the project has {', '.join(wide)}"


def _trust_names_its_subjects(row: Row, _: Sequence[Row]) -> Iterator[str]:
    condition = str(row.inputs.get("attributeCondition") or "")
    if "assertion.sub" not in condition and "google.subject" not in condition:
        yield "any token of the issuer is accepted: no subject is named"
    if row.inputs.get("oidc") and not str(row.inputs["oidc"].get("issuerUri")).startswith("https://"):
        yield "its issuer does not use HTTPS"


def _key_survives_destroy(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if not row.kept and row.inputs.get("destroyScheduledDuration") != "2592000s":
        yield "a destroyed key, and with it all encrypted data, is gone in less than 30 days"


def _private_zone(row: Row, _: Sequence[Row]) -> Iterator[str]:
    if row.inputs.get("visibility") != "private":
        yield "the zone is public"


def _calls_as_a_service_account(row: Row, _: Sequence[Row]) -> Iterator[str]:
    target = row.inputs.get("httpTarget") or {}
    if not (target.get("oauthToken") or target.get("oidcToken") or {}).get("serviceAccountEmail"):
        yield "it calls without a service account"
    if not str(target.get("uri")).startswith("https://"):
        yield "it calls without TLS"


def _jobs_have_their_own_service_account(row: Row, _: Sequence[Row]) -> Iterator[str]:
    account: dict[str, Any] = (row.inputs.get("resourceRuntimeSpec") or {}).get("serviceAccountSpec") or {}
    if not account.get("enableCustomServiceAccount"):
        yield "jobs on it act as Vertex AI's shared service agent"


RULES: Rules = {
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": (_members,),
    "gcp:cloudscheduler/job:Job": (_calls_as_a_service_account,),
    "gcp:compute/address:Address": (_no_public_address_resource,),
    "gcp:compute/firewall:Firewall": (_ingress, _egress),
    "gcp:compute/instanceGroupManager:InstanceGroupManager": (_no_stateful_address,),
    "gcp:compute/instanceTemplate:InstanceTemplate": (
        _no_external_address,
        _uses_os_login,
        _own_service_account,
        _no_secret_at_boot,
        _shielded_machine,
    ),
    "gcp:compute/network:Network": (_no_automatic_subnets,),
    "gcp:compute/routerNat:RouterNat": (_nat_names_its_subnets,),
    "gcp:compute/subnetwork:Subnetwork": (_private_subnet,),
    "gcp:dns/managedZone:ManagedZone": (_private_zone,),
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": (_trust_names_its_subjects,),
    "gcp:kms/cryptoKey:CryptoKey": (_key_survives_destroy,),
    "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember": (_members,),
    "gcp:projects/iAMCustomRole:IAMCustomRole": (_permissions_without_wildcards,),
    "gcp:projects/iAMMember:IAMMember": (_members, _narrow_project_role),
    "gcp:secretmanager/secretIamMember:SecretIamMember": (_members, _reads_secrets_only),
    "gcp:serviceaccount/iAMMember:IAMMember": (_members,),
    "gcp:storage/bucketIAMMember:BucketIAMMember": (_members, _narrow_bucket_role),
    "gcp:vertex/aiPersistentResource:AiPersistentResource": (_jobs_have_their_own_service_account,),
}
