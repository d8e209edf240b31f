"""GCP's Network: resources and rules for each egress in preview and update, existing networks, and the inputs that it refuses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_gcp as gcp
import pytest
from pulumi.output import Unknown

from gpuyard.components.gcp import Network
from tests.helpers.gcp_sample_pools import of_type
from tests.helpers.gcp_sample_yard import FIREWALL

ZONES = ["us-central1-a", "us-central1-c"]
TAGS = {"owner": "ml-platform@acme.io", "expires": "2027-03-31"}
VPC, SUBNET, ROUTE = "gcp:compute/network:Network", "gcp:compute/subnetwork:Subnetwork", "gcp:compute/route:Route"
ZONE, RECORD = "gcp:dns/managedZone:ManagedZone", "gcp:dns/recordSet:RecordSet"
SUBNET_ID = "projects/acme-ml/regions/us-central1/subnetworks/net-subnet"
GOOGLE = "199.36.153.8/30"
COMMON = [
    (FIREWALL, "net-deny-out"),
    (FIREWALL, "net-https-out"),
    (FIREWALL, "net-inside-out"),
    (SUBNET, "net-subnet"),
    (VPC, "net-vpc"),
    ("gpuyard-gcp:index:Network", "net"),
]
NAT = [("gcp:compute/router:Router", "net-router"), ("gcp:compute/routerNat:RouterNat", "net-nat"), (ROUTE, "net-internet")]
CLOSED = [
    (ROUTE, "net-google"),
    *((ZONE, f"net-names-{key}") for key in ("googleapis", "registry", "containers")),
    *((RECORD, f"net-names-{key}-{which}") for key in ("googleapis", "registry", "containers") for which in ("a", "all")),
]


def network(egress: str = "nat", zones: list[str] | None = None, **more: Any) -> Callable[[], None]:
    def program() -> None:
        found = Network("net", {"zones": zones or ZONES, "egress": egress, **more}, tags=TAGS)
        pulumi.export("subnets", found.subnet_ids)
        pulumi.export("id", found.id)
        assert (found.zones, found.egress) == (zones or ZONES, egress)

    return program


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(("egress", "more"), [("nat", NAT), ("endpoints", CLOSED), ("none", CLOSED)])
def test_tokens_and_child_names_do_not_change(record: Any, egress: str, more: list[Any], preview: bool) -> None:
    recorded = record(network(egress), preview=preview)
    assert sorted((request.type, request.name) for request in recorded.resources.values()) == sorted([*COMMON, *more])
    assert recorded.unknown == ({"subnets", "id"} if preview else set())
    if not preview:
        assert recorded.exports == {"id": "projects/acme-ml/global/networks/net-vpc", "subnets": dict.fromkeys(ZONES, SUBNET_ID)}


def test_one_private_subnet_for_all_zones(record: Any) -> None:
    recorded = record(network(cidr="10.40.0.0/16"))
    assert recorded.inputs(VPC, "net-vpc") == {
        "autoCreateSubnetworks": False,
        "deleteDefaultRoutesOnCreate": True,
        "mtu": 8896,
        "routingMode": "REGIONAL",
    }
    assert recorded.inputs(SUBNET, "net-subnet") == {
        "network": "projects/acme-ml/global/networks/net-vpc",
        "region": "us-central1",
        "ipCidrRange": "10.40.0.0/17",
        "privateIpGoogleAccess": True,
        "logConfig": {"aggregationInterval": "INTERVAL_10_MIN", "flowSampling": 0.1, "metadata": "EXCLUDE_ALL_METADATA"},
    }


@pytest.mark.parametrize("egress", ["nat", "endpoints", "none"])
def test_no_ingress_and_only_https_egress(record: Any, egress: str) -> None:
    recorded = record(network(egress))
    rules = of_type(recorded, FIREWALL)
    assert all(rule.pop("description") and rule.pop("logConfig") for rule in rules.values())
    shared = {"network": "projects/acme-ml/global/networks/net-vpc", "direction": "EGRESS"}
    https = {"allows": [{"protocol": "tcp", "ports": ["443"]}], "destinationRanges": ["0.0.0.0/0" if egress == "nat" else GOOGLE]}
    assert rules == {
        "net-deny-out": {**shared, "priority": 65534, "denies": [{"protocol": "all"}], "destinationRanges": ["0.0.0.0/0"]},
        "net-inside-out": {**shared, "priority": 1000, "allows": [{"protocol": "all"}], "destinationRanges": ["10.0.0.0/16"]},
        "net-https-out": {**shared, "priority": 1000, **https},
    }


def test_nat_has_dynamic_ports_and_serves_only_the_yards_subnet(record: Any) -> None:
    recorded = record(network())
    assert recorded.inputs("gcp:compute/routerNat:RouterNat", "net-nat") == {
        "router": "net-router",
        "region": "us-central1",
        "natIpAllocateOption": "AUTO_ONLY",
        "sourceSubnetworkIpRangesToNat": "LIST_OF_SUBNETWORKS",
        "subnetworks": [{"name": SUBNET_ID, "sourceIpRangesToNats": ["ALL_IP_RANGES"]}],
        "enableDynamicPortAllocation": True,
        "enableEndpointIndependentMapping": False,  # Google refuses it with dynamic ports
        "minPortsPerVm": 64,
        "maxPortsPerVm": 32768,  # both are powers of two
        "logConfig": {"enable": True, "filter": "ERRORS_ONLY"},
    }
    route = recorded.inputs(ROUTE, "net-internet")
    assert (route["destRange"], route["nextHopGateway"]) == ("0.0.0.0/0", "default-internet-gateway")


def test_another_egress_does_not_change_network_and_subnet(record: Any) -> None:
    """Google deletes default routes only when a network is made, so the yard adds and removes a route of its own."""
    nat, none = record(network("nat")), record(network("none"))
    for kind, name in ((VPC, "net-vpc"), (SUBNET, "net-subnet")):
        assert nat.inputs(kind, name) == none.inputs(kind, name)
    assert set(of_type(nat, ROUTE)) & set(of_type(none, ROUTE)) == set()


@pytest.mark.parametrize("egress", ["endpoints", "none"])
def test_google_apis_are_reached_only_by_private_addresses(record: Any, egress: str) -> None:
    recorded = record(network(egress))
    route = recorded.inputs(ROUTE, "net-google")
    assert (route["destRange"], route["nextHopGateway"]) == (GOOGLE, "default-internet-gateway")
    zones = of_type(recorded, ZONE)
    assert {zone["dnsName"] for zone in zones.values()} == {"googleapis.com.", "pkg.dev.", "gcr.io."}
    for zone in zones.values():
        assert zone["visibility"] == "private"
        assert zone["privateVisibilityConfig"] == {"networks": [{"networkUrl": "projects/acme-ml/global/networks/net-vpc"}]}
        assert zone["labels"]["gpuyard_stack"] == "gpuyard-local"
    own = recorded.inputs(RECORD, "net-names-registry-a")
    assert (own["name"], own["type"], own["managedZone"]) == ("pkg.dev.", "A", "net-names-registry")
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network(GOOGLE) for address in own["rrdatas"])
    below = recorded.inputs(RECORD, "net-names-registry-all")
    assert (below["name"], below["type"], below["rrdatas"]) == ("*.pkg.dev.", "CNAME", ["pkg.dev."])


@pytest.mark.parametrize("egress", ["nat", "endpoints", "none"])
def test_no_ingress_rule_and_no_external_address(record: Any, egress: str) -> None:
    recorded = record(network(egress))
    assert not [rule for rule in of_type(recorded, FIREWALL).values() if rule["direction"] == "INGRESS" or "sourceRanges" in rule]
    assert not of_type(recorded, "gcp:compute/address:Address")


@pytest.mark.parametrize("egress", ["nat", "endpoints"])
def test_the_subnet_id_waits_for_its_egress(record: Any, egress: str) -> None:
    def program() -> None:
        made = Network("net", {"zones": ZONES, "egress": egress}, tags=TAGS)
        pulumi.ComponentResource("t:index:User", "user", {"subnet": made.subnet_ids[ZONES[0]]})

    waits = {urn.rpartition("::")[2] for urn in record(program).one("t:index:User", "user").propertyDependencies["subnet"].urns}
    way = {"net-nat", "net-internet"} if egress == "nat" else {"net-google", "net-names-googleapis-all"}
    assert waits >= {"net-subnet", "net-deny-out", "net-https-out", "net-inside-out", *way}


@pytest.mark.parametrize("egress", ["nat", "none"])
def test_another_zone_changes_nothing(record: Any, egress: str) -> None:
    before, after = (record(network(egress, zones)) for zones in (ZONES, [*ZONES, "us-central1-f"]))
    custom = [urn for urn, request in before.resources.items() if request.custom]
    assert [urn for urn in custom if before.resources[urn].object != after.resources[urn].object] == []
    assert before.resources.keys() == after.resources.keys()


VPC_ID, SUBNETS = "projects/acme/global/networks/shared", {"us-east4-b": "projects/acme/regions/us-east4/subnetworks/gpu"}


@pytest.mark.parametrize("preview", [False, True])
def test_an_adopted_network_is_not_managed(record: Any, preview: bool) -> None:
    def program() -> None:
        found = Network.adopt("net", vpc_id=VPC_ID, subnet_ids={"us-east4-b": pulumi.Output.from_input(SUBNETS["us-east4-b"])}, tags=TAGS)
        assert (found.zones, found.egress, found.cidr) == (["us-east4-b"], None, None)
        pulumi.export("all", [found.id, found.subnet_ids["us-east4-b"]])

    recorded = record(program, preview=preview)
    assert [request.type for request in recorded.resources.values()] == ["gpuyard-gcp:index:Network"]
    assert recorded.lookups == []
    assert recorded.exports["all"] == [VPC_ID, *SUBNETS.values()]


def test_ids_of_another_stack_are_checked_once_known(record: Any) -> None:
    def program() -> None:
        company = pulumi.StackReference("acme/network/prod")
        found = Network.adopt("net", vpc_id=company.get_output("vpc"), subnet_ids={"us-east4-b": company.get_output("b")})
        pulumi.ComponentResource("t:index:User", "user", {"vpc": found.id})

    assert isinstance(record(program, preview=True).inputs("t:index:User", "user")["vpc"], Unknown)
    with pytest.raises(pulumi.RunError, match=r"vpc_id: not a resource id, got nothing, allowed: projects/P/global/networks/NAME"):
        record(program)  # the other stack has no such output


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda: Network("net"), ["Network net: 1 problem", "zones: no zone, got none, allowed: at least one"]),
        (
            lambda: Network("Net", {"zones": ["us-east4-a"], "egres": "none", "cidr": "10.0.0.0/8"}),
            [
                "Network Net: 4 problems",
                "name: not a valid name, got 'Net'",
                "did you mean 'egress'?",
                "zones of us-central1",
                "cidr: wrong network size, got '10.0.0.0/8'",
            ],
        ),
        (
            lambda: Network("net", {"cidr": "8.8.0.0/16", "zones": [1]}),
            ["cidr: wrong value, got '8.8.0.0/16'", 'zones.0: a number where text belongs, got 1; quote it: "1"'],
        ),
        (lambda: Network("net", {"cidr": "198.18.0.0/16", "zones": ZONES}), ["cidr: wrong value, got '198.18.0.0/16'"]),
        (
            lambda: Network.adopt("net", vpc_id="shared", subnet_ids={}),
            ["vpc_id: not a resource id, got 'shared'", "subnet_ids: no subnet, got none"],
        ),
        (
            lambda: Network.adopt("net", vpc_id=VPC_ID, subnet_ids={"z": VPC_ID}),
            ["subnet_ids.z: not a resource id, got", "projects/P/regions/R/subnetworks/NAME"],
        ),
        (lambda: Network("net", {"zones": ZONES}, tags={"Stack": "x"}), ["tags: not a valid label key, got 'Stack'"]),
    ],
)
def test_all_wrong_inputs_are_reported_and_nothing_is_made(record: Any, program: Callable[[], Any], expected: list[str]) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        record(program, config={"gcp:region": "us-central1"})
    assert all(text in str(caught.value) for text in expected), str(caught.value)
    assert caught.value.__cause__ is None


def test_the_configured_region_does_not_apply_with_another_provider(record: Any) -> None:
    def program() -> None:
        east = gcp.Provider("east", region="us-east4")
        Network("net", {"zones": ["us-east4-a"]}, opts=pulumi.ResourceOptions(provider=east))
        Network("two", {"zones": ["us-east4-a"]}, opts=pulumi.ResourceOptions(providers={"gcp": east}))

    record(program, config={"gcp:region": "us-central1"})


def test_further_ports_of_the_internet(record: Any) -> None:
    recorded = record(network(egress_ports=[22, 80]))
    assert recorded.inputs(FIREWALL, "net-https-out")["allows"] == [{"protocol": "tcp", "ports": ["443", "22", "80"]}]
