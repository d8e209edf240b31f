"""GCP's Network: every resource and rule of each way out, in an update and in a preview where nothing is known; one that is there."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from components.gcp import Network
from tests.support.gcp_yard import FIREWALL, NETWORK, SUBNET, SUBNETWORK, TAGS, VPC, ZONE, kinds

ROUTE, NAT, RECORD = "gcp:compute/route:Route", "gcp:compute/routerNat:RouterNat", "gcp:dns/recordSet:RecordSet"
COMMON = [
    "Firewall net-deny-out",
    "Firewall net-https-out",
    "Firewall net-inside-out",
    "Network net",
    "Network net-vpc",
    "Subnetwork net-subnet",
]
GOOGLE = [
    "Route net-google",
    *(f"ManagedZone net-names-{key}" for key in ("containers", "googleapis", "registry")),
    *(f"RecordSet net-names-{key}-{end}" for key in ("containers", "googleapis", "registry") for end in ("a", "all")),
]


def network(egress: str = "nat", **more: Any) -> Network:
    found = Network("net", {"zones": [ZONE, "us-central1-c"], "egress": egress, **more}, tags=TAGS)
    pulumi.export("subnets", found.subnet_ids)
    return found


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(("egress", "more"), [("nat", ["Router net-router", "RouterNat net-nat"]), ("endpoints", GOOGLE), ("none", GOOGLE)])
def test_tokens_and_child_names_are_the_frozen_ones(record: Any, egress: str, more: list[str], preview: bool) -> None:
    recorded = record(lambda: network(egress), preview=preview)
    assert kinds(recorded) == sorted([*COMMON, *more])
    assert recorded.lookups == []


def test_one_subnet_for_all_zones(record: Any) -> None:
    recorded = record(network)
    subnets = recorded.exports["subnets"]
    assert list(subnets) == [ZONE, "us-central1-c"]
    assert len(set(subnets.values())) == 1
    subnet = recorded.inputs(SUBNETWORK, "net-subnet")
    assert (subnet["ipCidrRange"], subnet["region"], subnet["privateIpGoogleAccess"]) == ("10.0.0.0/17", "us-central1", True)
    assert subnet["logConfig"]["aggregationInterval"] == "INTERVAL_5_SEC"
    assert recorded.inputs(NETWORK, "net-vpc")["autoCreateSubnetworks"] is False


@pytest.mark.parametrize(("egress", "where"), [("nat", "0.0.0.0/0"), ("endpoints", "199.36.153.8/30"), ("none", "199.36.153.8/30")])
def test_what_leaves(record: Any, egress: str, where: str) -> None:
    recorded = record(lambda: network(egress))
    rules = {request.name: recorded.inputs(FIREWALL, request.name) for request in recorded.resources.values() if request.type == FIREWALL}
    assert {rule["direction"] for rule in rules.values()} == {"EGRESS"}  # nothing comes in: Google implies that
    deny, https = rules["net-deny-out"], rules["net-https-out"]
    assert (deny["denies"], deny["destinationRanges"]) == ([{"protocol": "all"}], ["0.0.0.0/0"])
    assert deny["priority"] > https["priority"]
    assert (https["allows"], https["destinationRanges"]) == ([{"protocol": "tcp", "ports": ["443"]}], [where])
    assert recorded.inputs(NETWORK, "net-vpc")["deleteDefaultRoutesOnCreate"] is (egress != "nat")


def test_nat_has_ports_enough(record: Any) -> None:
    nat = record(network).inputs(NAT, "net-nat")
    assert (nat["enableDynamicPortAllocation"], nat["natIpAllocateOption"]) == (True, "AUTO_ONLY")
    assert nat["sourceSubnetworkIpRangesToNat"] == "LIST_OF_SUBNETWORKS"
    assert nat["logConfig"]["enable"] is True


def test_google_alone_is_reached_by_its_private_addresses(record: Any) -> None:
    recorded = record(lambda: network("endpoints"))
    assert recorded.inputs(ROUTE, "net-google")["destRange"] == "199.36.153.8/30"
    assert recorded.inputs(RECORD, "net-names-googleapis-a")["rrdatas"] == [f"199.36.153.{last}" for last in range(8, 12)]


@pytest.mark.parametrize("preview", [False, True])
def test_an_existing_network_is_not_changed(record: Any, preview: bool) -> None:
    recorded = record(lambda: Network.adopt("net", vpc_id=VPC, subnet_ids={ZONE: SUBNET}), preview=preview)
    assert kinds(recorded) == ["Network net"]
    assert recorded.outputs("Network") == {"id": VPC, "subnet_ids": {ZONE: SUBNET}}


def test_an_existing_network_by_wrong_ids(record: Any) -> None:
    with pytest.raises(pulumi.RunError, match="2 problems") as caught:
        record(lambda: Network.adopt("net", vpc_id="shared", subnet_ids={ZONE: "gpu"}))
    assert "vpc_id: got 'shared', allowed: projects/P/global/networks/NAME" in str(caught.value)
    with pytest.raises(pulumi.RunError, match="subnet_ids: got none"):
        record(lambda: Network.adopt("net", vpc_id=VPC, subnet_ids={}))


@pytest.mark.parametrize(
    ("given_to", "told"),
    [
        ({"cidr": "10.0.0.0/24"}, "give 10.0.0.0/20"),
        ({"cidr": "8.8.0.0/16"}, "cidr: got '8.8.0.0/16'"),
        ({"zones": ["us-east4-b"]}, "zones of us-central1, where gcp:region says everything goes"),
        ({"egress": "open"}, "egress: got 'open'"),
    ],
)
def test_what_is_refused(record: Any, given_to: dict[str, Any], told: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(lambda: Network("net", {"zones": [ZONE], **given_to}), config={"gcp:region": "us-central1"})
    assert told in str(caught.value)
