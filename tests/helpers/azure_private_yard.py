"""A sample Azure yard without access from the internet that uses every feature. No committed stack is such a yard."""

from __future__ import annotations

import pulumi

from gpuyard.components.azure import Bucket, EncryptionKey, GpuPool, JobService, Network

TAGS = {"owner": "ml@acme.io", "expires": "2999-03-31"}
_MACHINE = "Standard_ND96isr_H100_v5"
_SUBJECT = "repo:acme/nlp-train:ref:refs/heads/main"


def declare() -> None:
    """Declare 2 networks, a pool of each service, buckets of both kinds with a key, a registry and 2 job services, one of them in both
    networks.
    """
    one, two = (Network(name, {"zones": ["1"], "cidr": cidr}, tags=TAGS) for name, cidr in (("one", "10.1.0.0/16"), ("two", "10.2.0.0/16")))
    key = EncryptionKey("key", on_destroy="delete", tags=TAGS)
    runs = Bucket("runs", {"on_destroy": "delete"}, key=key, tags=TAGS)
    data = Bucket("data", {"on_destroy": "delete"}, namespace="hierarchical", tags=TAGS)
    more = Bucket("more", {"on_destroy": "delete"}, tags=TAGS)
    lab = GpuPool("lab", {"machine": _MACHINE, "zone": "1", "max_nodes": 2, "service": "vms"}, network=one, tags=TAGS)
    h100 = GpuPool("h100", {"machine": _MACHINE, "max_nodes": 4, "service": "azureml"}, network=two, tags=TAGS)
    a100 = GpuPool("a100", {"machine": "Standard_NC24ads_A100_v4", "max_nodes": 1, "service": "azureml"}, network=two, tags=TAGS)
    jobs = JobService(
        "train",
        pools=[lab, h100],
        writes=[runs],
        reads=[data],
        submitters=[_SUBJECT],
        isolation="approved",
        registry="premium",
        tags=TAGS,
    )
    JobService("more", pools=[a100], writes=[more], tags=TAGS)
    pulumi.export("job_targets", jobs.targets)
