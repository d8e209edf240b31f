"""Each of our own Google Cloud rules refuses its bad example and passes the good one."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.fakes.pulumi_provider import sdk_check
from tests.security.gcp import own_rules
from tests.security.rows import Row
from tests.security.rules import wrong

FIREWALL = "gcp:compute/firewall:Firewall"
TEMPLATE = "gcp:compute/instanceTemplate:InstanceTemplate"
NAT = "gcp:compute/routerNat:RouterNat"
PROVIDER = "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider"
PROJECT = "gcp:projects/iAMMember:IAMMember"
CALL = "gcp:cloudscheduler/job:Job"
HELD = "gcp:vertex/aiPersistentResource:AiPersistentResource"
NODES = "nodes@acme-ml.iam.gserviceaccount.com"
ALL = [{"protocol": "all"}]
GOOD_TEMPLATE: dict[str, Any] = {
    "networkInterfaces": [{"subnetwork": "net-a", "nicType": "GVNIC"}, {"subnetwork": "net-b", "nicType": "MRDMA"}],
    "metadata": {
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-enable": "FALSE",
        "startup-script": "mount /data",
    },
    "serviceAccount": {"email": NODES, "scopes": ["cloud-platform"]},
    "shieldedInstanceConfig": {"enableVtpm": True, "enableIntegrityMonitoring": True, "enableSecureBoot": False},
}
GOOD_METADATA = GOOD_TEMPLATE["metadata"]
GOOD_CALL = {"httpTarget": {"uri": "https://compute.googleapis.com/x", "oauthToken": {"serviceAccountEmail": NODES}}}
INSIDE = {"allows": ALL, "sourceServiceAccounts": [NODES], "targetServiceAccounts": [NODES]}
IAP = {"allows": [{"protocol": "tcp", "ports": ["22"]}], "sourceRanges": ["35.235.240.0/20"], "targetServiceAccounts": [NODES]}

GOOD: list[tuple[str, dict[str, Any]]] = [
    (TEMPLATE, GOOD_TEMPLATE),
    (FIREWALL, INSIDE),
    (FIREWALL, IAP),
    (FIREWALL, {"direction": "EGRESS", "allows": [{"protocol": "tcp", "ports": ["443"]}], "destinationRanges": ["0.0.0.0/0"]}),
    (FIREWALL, {"direction": "EGRESS", "denies": ALL, "destinationRanges": ["0.0.0.0/0"]}),
    (FIREWALL, {"direction": "EGRESS", "allows": ALL, "destinationRanges": ["10.0.0.0/16"]}),
    (NAT, {"sourceSubnetworkIpRangesToNat": "LIST_OF_SUBNETWORKS", "logConfig": {"enable": True}}),
    (PROVIDER, {"attributeCondition": "assertion.sub == 'repo:a/b:ref:refs/heads/main'", "oidc": {"issuerUri": "https://x.io"}}),
    (PROJECT, {"role": "roles/logging.logWriter", "member": f"serviceAccount:{NODES}"}),
    (CALL, GOOD_CALL),
    (HELD, {"resourceRuntimeSpec": {"serviceAccountSpec": {"enableCustomServiceAccount": True}}}),
    ("gcp:compute/network:Network", {"autoCreateSubnetworks": False}),
    ("gcp:dns/managedZone:ManagedZone", {"dnsName": "googleapis.com.", "visibility": "private"}),
    ("gcp:kms/cryptoKey:CryptoKey", {"destroyScheduledDuration": "2592000s"}),
    ("gcp:compute/subnetwork:Subnetwork", {"ipCidrRange": "10.0.0.0/20"}),
    ("gcp:compute/address:Address", {"addressType": "INTERNAL"}),
    ("gcp:storage/bucketIAMMember:BucketIAMMember", {"role": "roles/storage.objectUser", "member": f"serviceAccount:{NODES}"}),
    ("gcp:serviceaccount/iAMMember:IAMMember", {"role": "r", "member": "principal://iam.googleapis.com/p/subject/repo:a/b"}),
]
BAD: list[tuple[str, dict[str, Any], str]] = [
    (TEMPLATE, {**GOOD_TEMPLATE, "networkInterfaces": [{"subnetwork": "a"}, {"subnetwork": "b", "accessConfigs": [{}]}]}, "card 1 gets an"),
    (TEMPLATE, {**GOOD_TEMPLATE, "networkInterfaces": [{"nicType": "GVNIC"}]}, "default network"),
    (TEMPLATE, {**GOOD_TEMPLATE, "metadata": {**GOOD_METADATA, "enable-oslogin": "FALSE"}}, "enable-oslogin must be TRUE"),
    (TEMPLATE, {**GOOD_TEMPLATE, "metadata": {**GOOD_METADATA, "serial-port-enable": "true"}}, "serial-port-enable must be FALSE"),
    (TEMPLATE, {**GOOD_TEMPLATE, "metadata": {**GOOD_METADATA, "ssh-keys": "me:ssh-ed25519 AAAA"}}, "SSH keys"),
    (TEMPLATE, {**GOOD_TEMPLATE, "serviceAccount": {"scopes": ["cloud-platform"]}}, "default service account"),
    (TEMPLATE, {**GOOD_TEMPLATE, "serviceAccount": {"email": "1-compute@developer.gserviceaccount.com"}}, "default service account"),
    (
        TEMPLATE,
        {**GOOD_TEMPLATE, "serviceAccount": {"email": NODES, "scopes": ["storage-rw"]}},
        "its access scopes must be cloud-platform: roles limit its machines",
    ),
    (TEMPLATE, {**GOOD_TEMPLATE, "metadata": {**GOOD_METADATA, "startup-script": "WANDB_TOKEN=0123456789abcdef0123"}}, "secret"),
    (TEMPLATE, {**GOOD_TEMPLATE, "metadataStartupScript": base64.b64encode(b"key AKIAIOSFODNN7EXAMPLA").decode()}, "secret"),
    (TEMPLATE, {**GOOD_TEMPLATE, "shieldedInstanceConfig": {"enableVtpm": True}}, "integrity monitoring must be on"),
    (TEMPLATE, {**GOOD_TEMPLATE, "canIpForward": True}, "it forwards IP packets"),
    (FIREWALL, {**INSIDE, "sourceServiceAccounts": []}, "it allows ingress from everywhere: name a service account"),
    (FIREWALL, {**INSIDE, "sourceRanges": ["10.0.0.0/8"]}, "it allows ingress from addresses:"),
    (FIREWALL, {**INSIDE, "targetServiceAccounts": []}, "every machine of the network"),
    (FIREWALL, {**IAP, "allows": ALL}, "more than SSH"),
    (
        FIREWALL,
        {"direction": "EGRESS", "allows": ALL, "destinationRanges": ["0.0.0.0/0"]},
        "it allows egress to the internet other than HTTPS",
    ),
    (FIREWALL, {"direction": "EGRESS", "allows": ALL}, "it allows egress to the internet other than HTTPS"),
    (NAT, {"sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES", "logConfig": {"enable": True}}, "every subnet"),
    (NAT, {"sourceSubnetworkIpRangesToNat": "LIST_OF_SUBNETWORKS"}, "failed egress is not logged"),
    (PROVIDER, {"attributeCondition": "assertion.repository_owner == 'a'"}, "no subject is named"),
    (PROVIDER, {"attributeCondition": "assertion.sub == 'x'", "oidc": {"issuerUri": "http://x.io"}}, "its issuer does not use HTTPS"),
    (PROJECT, {"role": "roles/editor", "member": f"serviceAccount:{NODES}"}, "roles/editor on the whole project"),
    (PROJECT, {"role": "roles/storage.objectViewer", "member": f"serviceAccount:{NODES}"}, "on the whole project"),
    (PROJECT, {"role": "roles/logging.logWriter", "member": "allAuthenticatedUsers"}, "allAuthenticatedUsers has"),
    (CALL, {"httpTarget": {"uri": "https://x.io"}}, "without a service account"),
    (CALL, {"httpTarget": {**GOOD_CALL["httpTarget"], "uri": "http://x.io"}}, "without TLS"),
    ("gcp:compute/network:Network", {}, "it creates a subnet in every region"),
    (
        "gcp:compute/subnetwork:Subnetwork",
        {"stackType": "IPV4_IPV6", "ipv6AccessType": "EXTERNAL"},
        "its machines get public IPv6 addresses",
    ),
    ("gcp:compute/address:Address", {}, "it is a public address"),
    (
        "gcp:compute/instanceGroupManager:InstanceGroupManager",
        {"statefulExternalIps": [{"interfaceName": "nic0"}]},
        "its machines get external addresses",
    ),
    ("gcp:dns/managedZone:ManagedZone", {"dnsName": "x.io."}, "the zone is public"),
    (
        "gcp:kms/cryptoKey:CryptoKey",
        {"destroyScheduledDuration": "86400s"},
        "a destroyed key, and with it all encrypted data, is gone in less than 30 days",
    ),
    ("gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember", {"role": "r", "member": "allUsers"}, "allUsers has r"),
    ("gcp:artifactregistry/repositoryIamMember:RepositoryIamMember", {"role": "r", "member": "allUsers"}, "allUsers has r"),
    ("gcp:projects/iAMCustomRole:IAMCustomRole", {"permissions": ["iam.serviceAccounts.actAs"]}, "iam.serviceAccounts.actAs"),
    (
        "gcp:secretmanager/secretIamMember:SecretIamMember",
        {"role": "roles/secretmanager.admin", "member": "m"},
        "on a secret: a job needs read access only",
    ),
    ("gcp:serviceaccount/iAMMember:IAMMember", {"role": "r", "member": "principalSet://iam.googleapis.com/p/*"}, "no subject is named"),
    ("gcp:storage/bucketIAMMember:BucketIAMMember", {"role": "roles/storage.admin", "member": "m"}, "change who may read"),
    ("gcp:storage/bucketIAMMember:BucketIAMMember", {"role": "roles/storage.legacyBucketOwner", "member": "m"}, "change who may read"),
    (HELD, {"resourcePools": []}, "shared service agent"),
]


@pytest.mark.parametrize(("token", "inputs", "told"), BAD)
def test_the_bad_example_is_refused(token: str, inputs: dict[str, Any], told: str) -> None:
    assert told in "\n".join(wrong(own_rules.RULES, [Row(token, "bad", inputs)]))


@pytest.mark.parametrize(("token", "inputs"), GOOD)
def test_the_good_example_passes(token: str, inputs: dict[str, Any]) -> None:
    assert wrong(own_rules.RULES, [Row(token, "good", inputs)]) == []


def test_a_retained_key_passes() -> None:
    assert wrong(own_rules.RULES, [Row("gcp:kms/cryptoKey:CryptoKey", "good", {}, kept=True)]) == []


def test_every_rule_has_a_bad_example_of_a_type_in_the_sdk() -> None:
    assert set(own_rules.RULES) == {bad[0] for bad in BAD}
    for token, inputs in [*((token, inputs) for token, inputs, _ in BAD), *GOOD]:
        assert not [line for line in sdk_check.problems(token, inputs) if not line.endswith(": required")], (
            "an example must be a possible one"
        )
