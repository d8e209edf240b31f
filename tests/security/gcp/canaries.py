"""Canaries for GCP: a deliberately bad resource of each type that Checkov checks, and the rules that must fail on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.pulumi_provider.answers import Origin
from tests.security.canary import Canary

_NETWORK = ("gcp:compute/network:Network", "canary-network")
_KEY = ("gcp:kms/cryptoKey:CryptoKey", "canary-key")
ORIGINS = {"the-canary-key": Origin(*_KEY, "id")}
NAMES = dict((_NETWORK, _KEY))
_ANYBODY = "allUsers"
_DEFAULT_ACCOUNT = "123456789012-compute@developer.gserviceaccount.com"
_TEMPLATE: Mapping[str, Any] = {
    "machineType": "g2-standard-4",
    "canIpForward": True,
    "disks": [{"sourceImage": "debian"}],
    "metadata": {"serial-port-enable": "true", "enable-oslogin": "false"},
    "networkInterfaces": [{"network": "default", "accessConfigs": [{"networkTier": "PREMIUM"}]}],
    "serviceAccount": {"email": _DEFAULT_ACCOUNT, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]},
    "shieldedInstanceConfig": {"enableVtpm": False, "enableIntegrityMonitoring": False},
}
CANARIES = (
    Canary("gcp:artifactregistry/repository:Repository", ("CKV_GCP_84",), {"format": "DOCKER", "repositoryId": "images"}),
    Canary(
        "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember",
        ("CKV_GCP_101",),
        {"repository": "images", "role": "roles/artifactregistry.reader", "member": _ANYBODY},
    ),
    Canary(
        "gcp:compute/firewall:Firewall",
        ("CKV_GCP_2", "CKV_GCP_3", "CKV_GCP_75", "CKV_GCP_77", "CKV_GCP_88", "CKV_GCP_106"),
        {"network": "default", "allows": [{"protocol": "tcp", "ports": ["1-65535"]}], "sourceRanges": ["0.0.0.0/0"]},
    ),
    Canary(
        "gcp:compute/instanceTemplate:InstanceTemplate",
        ("CKV_GCP_30", "CKV_GCP_31", "CKV_GCP_32", "CKV_GCP_34", "CKV_GCP_35", "CKV_GCP_36", "CKV_GCP_39", "CKV_GCP_40"),
        _TEMPLATE,
    ),
    Canary(_NETWORK[0], ("CKV2_GCP_18",), {"autoCreateSubnetworks": True}),
    Canary("gcp:compute/subnetwork:Subnetwork", ("CKV_GCP_26", "CKV_GCP_74"), {"network": "default", "ipCidrRange": "10.0.0.0/20"}),
    Canary(
        "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider",
        ("CKV_GCP_118", "CKV_GCP_125"),
        {
            "workloadIdentityPoolId": "ci",
            "workloadIdentityPoolProviderId": "github",
            "oidc": {"issuerUri": "https://token.actions.githubusercontent.com"},
        },
    ),
    Canary(_KEY[0], ("CKV_GCP_43",), {"keyRing": "ring", "rotationPeriod": "31536000s"}),
    Canary(
        "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember",
        ("CKV_GCP_112",),
        {"cryptoKeyId": "the-canary-key", "role": "roles/cloudkms.cryptoKeyEncrypterDecrypter", "member": _ANYBODY},
    ),
    Canary(
        "gcp:projects/iAMMember:IAMMember",
        ("CKV_GCP_41", "CKV_GCP_49"),
        {"project": "p", "role": "roles/iam.serviceAccountTokenCreator", "member": "serviceAccount:ci@p.iam.gserviceaccount.com"},
    ),
    Canary(
        "gcp:projects/iAMMember:IAMMember",
        ("CKV_GCP_42", "CKV_GCP_117"),
        {"project": "p", "role": "roles/owner", "member": "serviceAccount:ci@p.iam.gserviceaccount.com"},
    ),
    Canary(
        "gcp:projects/iAMMember:IAMMember",
        ("CKV_GCP_46",),
        {"project": "p", "role": "roles/viewer", "member": f"serviceAccount:{_DEFAULT_ACCOUNT}"},
    ),
    Canary("gcp:pubsub/topic:Topic", ("CKV_GCP_83",), {"name": "alerts"}),
    Canary(
        "gcp:storage/bucket:Bucket",
        ("CKV_GCP_29", "CKV_GCP_62", "CKV_GCP_78", "CKV_GCP_114"),
        {"location": "US", "uniformBucketLevelAccess": False, "publicAccessPrevention": "inherited", "versioning": {"enabled": False}},
    ),
    Canary(
        "gcp:storage/bucketIAMMember:BucketIAMMember",
        ("CKV_GCP_28",),
        {"bucket": "b", "role": "roles/storage.objectViewer", "member": _ANYBODY},
    ),
)
# Types without a Checkov rule. own_rules.py checks those that matter.
BLIND = frozenset(
    {
        "gcp:billing/budget:Budget",
        "gcp:cloudscheduler/job:Job",
        "gcp:compute/address:Address",
        "gcp:compute/globalAddress:GlobalAddress",
        "gcp:compute/instanceGroupManager:InstanceGroupManager",
        "gcp:compute/networkAttachment:NetworkAttachment",
        "gcp:compute/reservation:Reservation",
        "gcp:compute/resizeRequest:ResizeRequest",
        "gcp:compute/resourcePolicy:ResourcePolicy",
        "gcp:compute/route:Route",
        "gcp:compute/router:Router",
        "gcp:compute/routerNat:RouterNat",
        "gcp:dns/managedZone:ManagedZone",  # a private one is not checked
        "gcp:dns/recordSet:RecordSet",
        "gcp:iam/workloadIdentityPool:WorkloadIdentityPool",
        "gcp:kms/keyRing:KeyRing",
        "gcp:logging/projectBucketConfig:ProjectBucketConfig",
        "gcp:logging/logView:LogView",
        "gcp:logging/logViewIamMember:LogViewIamMember",
        "gcp:monitoring/alertPolicy:AlertPolicy",
        "gcp:monitoring/notificationChannel:NotificationChannel",
        "gcp:projects/iAMCustomRole:IAMCustomRole",
        "gcp:projects/service:Service",
        "gcp:projects/serviceIdentity:ServiceIdentity",
        "gcp:pubsub/topicIAMMember:TopicIAMMember",
        "gcp:secretmanager/secretIamMember:SecretIamMember",
        "gcp:serviceaccount/account:Account",
        "gcp:serviceaccount/iAMMember:IAMMember",
        "gcp:servicenetworking/connection:Connection",
        "gcp:storage/bucketObject:BucketObject",
        "gcp:vertex/aiPersistentResource:AiPersistentResource",
        "gcp:workflows/workflow:Workflow",
    }
)
