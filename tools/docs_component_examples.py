"""Examples of docs/components.md: a program for each cloud, one piece per component. The generator runs them through the recorder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["CONFIG", "EXAMPLES", "IMPORTS", "Example"]


class Example(NamedTuple):
    """One component, as a program uses it. Later examples of a cloud use the variables of earlier ones."""

    component: str
    code: str


_TAGS = 'TAGS = {"owner": "ml-platform@acme.io", "expires": "2027-03-31"}'
_JOBS = Example("JobService", 'jobs = JobService("train", pools={pools}, reads=[data], writes=[runs], tags=TAGS)')

IMPORTS: Mapping[str, str] = {
    "local": "from gpuyard.local import Bucket, GpuPool, JobService, Network",
    "aws": "from gpuyard.aws import Bucket, Budget, EncryptionKey, GpuPool, Identity, ImageRepository, JobService, Network, Notify\n"
    "from gpuyard.components.aws.policy import Statement\n"
    f"from gpuyard.components.aws.trust import Trust\n\n{_TAGS}",
    "gcp": f"from gpuyard.gcp import Bucket, Budget, EncryptionKey, GpuPool, Identity, JobService, Network, Notify\n\n{_TAGS}",
    "azure": f"from gpuyard.azure import Bucket, Budget, EncryptionKey, GpuPool, Identity, JobService, Network\n\n{_TAGS}",
}
CONFIG: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "aws": {"aws:region": "us-east-2"},
    "gcp": {"gcp:project": "acme", "gcp:region": "us-central1"},
    "azure": {"azure-native:location": "eastus", "azure-native:subscriptionId": "00000000-0000-4000-8000-000000000000"},
}
_CONTAINER = "/subscriptions/SUB/resourceGroups/ML/providers/Microsoft.Storage/storageAccounts/acme/blobServices/default/containers/data"
EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "aws": (
        Example("Network", 'net = Network("net", {"zones": ["us-east-2a", "us-east-2b"], "egress": "nat"}, tags=TAGS)'),
        Example("EncryptionKey", 'key = EncryptionKey("logs", for_logs=True, tags=TAGS)'),
        Example(
            "Bucket",
            'runs = Bucket("runs", {"on_destroy": "keep"}, tags=TAGS)\ndata = Bucket.adopt("data", bucket="acme-ml-datasets")',
        ),
        Example(
            "GpuPool",
            'h100 = GpuPool("h100", {"machine": "p5.48xlarge", "zone": "us-east-2b", "max_nodes": 4, "service": "batch"}, '
            "network=net, tags=TAGS)\n"
            'spot = GpuPool("spot", {"machine": "p5.48xlarge", "max_nodes": 4, "service": "sagemaker", "capacity": "spot"}, '
            "network=net, tags=TAGS)\n"
            'bare = GpuPool("bare", {"machine": "g6.12xlarge", "zone": "us-east-2a", "max_nodes": 2, "service": "vms"}, '
            "network=net, key=key, tags=TAGS)",
        ),
        Example(_JOBS.component, _JOBS.code.format(pools="[h100, spot, bare]")),
        Example(
            "Identity",
            'reads = Statement(("s3:GetObject",), ("arn:aws:s3:::acme-ml-datasets/*",), why="reads the data set")\n'
            'role = Identity("reader", trust=Trust(service="ec2.amazonaws.com"), statements=[reads], tags=TAGS)',
        ),
        Example("Budget", 'budget = Budget("budget", owner="ml-platform@acme.io", usd_per_month=5000, tags=TAGS)'),
        Example("ImageRepository", 'images = ImageRepository("images", tags=TAGS)'),
        Example("Notify", 'notify = Notify("notify", email=["ml-platform@acme.io"], jobs=jobs, tags=TAGS)'),
    ),
    "gcp": (
        Example("Network", 'net = Network("net", {"zones": ["us-central1-a", "us-central1-b"], "egress": "nat"}, tags=TAGS)'),
        Example("EncryptionKey", 'key = EncryptionKey("data", uses=("storage",), tags=TAGS)'),
        Example(
            "Bucket",
            'runs = Bucket("runs", {"on_destroy": "keep"}, key=key, tags=TAGS)\ndata = Bucket.adopt("data", bucket="acme-ml-datasets")',
        ),
        Example(
            "GpuPool",
            'h200 = GpuPool("h200", {"machine": "a3-ultragpu-8g", "max_nodes": 4, "service": "vertex", "capacity": "spot"}, '
            "network=net, tags=TAGS)\n"
            'bare = GpuPool(\n    "bare",\n    {"machine": "a3-ultragpu-8g", "zone": "us-central1-a", "max_nodes": 2, "service": "vms", '
            '"capacity": "spot"},\n    network=net,\n    tags=TAGS,\n)',
        ),
        Example(_JOBS.component, _JOBS.code.format(pools="[h200, bare]")),
        Example("Identity", 'account = Identity("reader", purpose="reads the data set", tags=TAGS)'),
        Example("Budget", 'budget = Budget("budget", owner="ml-platform@acme.io", usd_per_month=5000, tags=TAGS)'),
        Example("Notify", 'notify = Notify("notify", email=["ml-platform@acme.io"], jobs=jobs, pools=[bare], tags=TAGS)'),
    ),
    "azure": (
        Example("Network", 'net = Network("net", {"zones": ["1", "2"], "egress": "nat"}, tags=TAGS)'),
        Example("EncryptionKey", 'key = EncryptionKey("data", tags=TAGS)'),
        Example(
            "Bucket",
            'runs = Bucket("runs", {"on_destroy": "keep", "open_to": ["203.0.112.0/24"]}, key=key, tags=TAGS)\n'
            f'data = Bucket.adopt(\n    "data",\n    bucket="{_CONTAINER}",\n)',
        ),
        Example(
            "GpuPool",
            'h100 = GpuPool("h100", {"machine": "Standard_ND96isr_H100_v5", "max_nodes": 4, "service": "azureml"}, '
            "network=net, tags=TAGS)\n"
            'bare = GpuPool("bare", {"machine": "Standard_ND96isr_H100_v5", "zone": "1", "max_nodes": 2, "service": "vms"}, '
            "network=net, tags=TAGS)",
        ),
        Example(_JOBS.component, _JOBS.code.format(pools="[h100, bare]")),
        Example("Identity", 'identity = Identity("reader", tags=TAGS)'),
        Example("Budget", 'budget = Budget("budget", owner="ml-platform@acme.io", usd_per_month=5000, tags=TAGS)'),
    ),
    "local": (
        Example("Network", 'net = Network("net", {"cidr": "127.77.0.0/24"})'),
        Example("Bucket", 'runs = Bucket("runs", {"on_destroy": "delete"})\ndata = Bucket.adopt("data", bucket="/usr/share")'),
        Example("GpuPool", 'pool = GpuPool("gpus", {"max_nodes": 2, "service": "local"}, network=net)'),
        Example("JobService", 'jobs = JobService("train", pools=[pool], reads=[data], writes=[runs])'),
    ),
}
