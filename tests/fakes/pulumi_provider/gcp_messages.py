"""Google's own API messages behind the resources: the fields of each, and the values of their enums, in gcp_messages.json.

The source are the discovery documents that google-api-python-client ships. To renew the file:
`uv pip install --target /tmp/google google-api-python-client`, then
`python -m tests.fakes.pulumi_provider.gcp_messages /tmp/google/googleapiclient/discovery_cache/documents`.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
# Type -> discovery document and message.
MESSAGES: Mapping[str, tuple[str, str]] = {
    "gcp:artifactregistry/repository:Repository": ("artifactregistry.v1", "Repository"),
    "gcp:billing/budget:Budget": ("billingbudgets.v1", "GoogleCloudBillingBudgetsV1Budget"),
    "gcp:cloudscheduler/job:Job": ("cloudscheduler.v1", "Job"),
    "gcp:compute/firewall:Firewall": ("compute.v1", "Firewall"),
    "gcp:compute/instanceGroupManager:InstanceGroupManager": ("compute.v1", "InstanceGroupManager"),
    "gcp:compute/instanceTemplate:InstanceTemplate": ("compute.v1", "InstanceProperties"),
    "gcp:compute/network:Network": ("compute.v1", "Network"),
    "gcp:compute/networkAttachment:NetworkAttachment": ("compute.v1", "NetworkAttachment"),
    "gcp:compute/resizeRequest:ResizeRequest": ("compute.v1", "InstanceGroupManagerResizeRequest"),
    "gcp:compute/resourcePolicy:ResourcePolicy": ("compute.v1", "ResourcePolicy"),
    "gcp:compute/route:Route": ("compute.v1", "Route"),
    "gcp:compute/router:Router": ("compute.v1", "Router"),
    "gcp:compute/routerNat:RouterNat": ("compute.v1", "RouterNat"),
    "gcp:compute/subnetwork:Subnetwork": ("compute.v1", "Subnetwork"),
    "gcp:dns/managedZone:ManagedZone": ("dns.v1", "ManagedZone"),
    "gcp:dns/recordSet:RecordSet": ("dns.v1", "ResourceRecordSet"),
    "gcp:iam/workloadIdentityPool:WorkloadIdentityPool": ("iam.v1", "WorkloadIdentityPool"),
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": ("iam.v1", "WorkloadIdentityPoolProvider"),
    "gcp:kms/cryptoKey:CryptoKey": ("cloudkms.v1", "CryptoKey"),
    "gcp:kms/keyRing:KeyRing": ("cloudkms.v1", "KeyRing"),
    "gcp:monitoring/alertPolicy:AlertPolicy": ("monitoring.v3", "AlertPolicy"),
    "gcp:monitoring/notificationChannel:NotificationChannel": ("monitoring.v3", "NotificationChannel"),
    "gcp:projects/iAMCustomRole:IAMCustomRole": ("iam.v1", "Role"),
    "gcp:serviceaccount/account:Account": ("iam.v1", "ServiceAccount"),
    "gcp:storage/bucket:Bucket": ("storage.v1", "Bucket"),
    "gcp:storage/bucketObject:BucketObject": ("storage.v1", "Object"),
    "gcp:vertex/aiPersistentResource:AiPersistentResource": ("aiplatform.v1", "GoogleCloudAiplatformV1PersistentResource"),
    "gcp:workflows/workflow:Workflow": ("workflows.v1", "Workflow"),
}


@functools.cache
def fields() -> dict[str, dict[str, list[str]]]:
    """Return a dict: message type -> field -> values of the field's enum. A field that is no enum has no values."""
    found: dict[str, dict[str, list[str]]] = json.loads(FILE.read_text(encoding="utf-8"))["types"]
    return found


def _fields(document: Mapping[str, Any], message: str) -> dict[str, list[str]]:
    """Return the fields of a message and of the messages in it, by name."""
    found: dict[str, set[str]] = {}
    seen: set[str] = set()

    def visit(schema: Mapping[str, Any]) -> None:
        name = schema.get("$ref")
        if name is not None:
            if name not in seen:
                seen.add(name)
                visit(document["schemas"][name])
            return
        for key, value in schema.get("properties", {}).items():
            found.setdefault(key, set()).update(value.get("enum") or value.get("items", {}).get("enum") or ())
            visit(value)
        for part in (schema.get("items"), schema.get("additionalProperties")):
            if isinstance(part, dict):
                visit(part)

    visit({"$ref": message})
    return {key: sorted(values) for key, values in sorted(found.items())}


def main(folder: Path) -> None:
    """Write gcp_messages.json from a folder with discovery documents."""
    documents = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name, _ in MESSAGES.values()}
    made = {
        "revisions": {name: document["revision"] for name, document in sorted(documents.items())},
        "types": {token: _fields(documents[name], message) for token, (name, message) in MESSAGES.items()},
    }
    FILE.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
