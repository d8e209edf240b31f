"""Network interfaces of each machine type, as EC2 accepts them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components import catalogue
from gpuyard.components.aws.nics import batch_nic_layout, network_interfaces, nic_layout

PLAIN = (0, 0, None)
FIRST = (0, 1, "efa-only")


def rest(first: int, last: int) -> list[tuple[int, int, str]]:
    return [(card, 0, "efa-only") for card in range(first, last + 1)]


GOLDEN = {
    "g5.xlarge": [PLAIN],
    "g6.12xlarge": [PLAIN, FIRST],
    "g6e.24xlarge": [PLAIN, FIRST, *rest(1, 1)],
    "g6e.48xlarge": [PLAIN, FIRST, *rest(1, 3)],
    "p4d.24xlarge": [PLAIN, FIRST, *rest(1, 3)],
    "p5.4xlarge": [PLAIN, FIRST],
    "p5.48xlarge": [PLAIN, FIRST, *rest(1, 31)],
    "p5en.48xlarge": [PLAIN, FIRST, *rest(1, 15)],
    "p6-b200.48xlarge": [PLAIN, FIRST, *rest(1, 7)],
    "p6-b300.48xlarge": [PLAIN, *rest(1, 16)],
}


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("g5.xlarge", []),
        ("g6.12xlarge", [(0, 0, "efa")]),
        ("p5.48xlarge", [(card, 0, "efa") for card in range(32)]),
        ("p5en.48xlarge", [(card, 0, "efa") for card in range(16)]),
        ("p6-b300.48xlarge", [PLAIN, *((card, 0, "efa") for card in range(1, 17))]),
    ],
)
def test_batch_machines_have_one_interface_on_each_card(machine: str, expected: list[tuple[int, int, str | None]]) -> None:
    cards = batch_nic_layout(catalogue.machine(machine, ("aws",)))
    assert [(card["network_card_index"], card["device_index"], card.get("interface_type")) for card in cards] == expected


@pytest.mark.parametrize("machine", GOLDEN)
def test_interfaces_of_known_machines(machine: str) -> None:
    cards = nic_layout(catalogue.machine(machine, ("aws",)))
    assert [(card["network_card_index"], card["device_index"], card.get("interface_type")) for card in cards] == GOLDEN[machine]


@pytest.mark.parametrize("machine", catalogue.table("aws").machines)
def test_interfaces_of_every_machine_use_existing_cards(machine: str) -> None:
    row = catalogue.machine(machine, ("aws",))
    cards = nic_layout(row)
    assert sum(card.get("interface_type", "").startswith("efa") for card in cards) == row.fast_nics
    assert all(card["network_card_index"] < row.network_cards for card in cards)


@given(st.integers(1, 64).flatmap(lambda cards: st.tuples(st.just(cards), st.integers(0, cards))))
def test_interfaces_of_any_machine(counts: tuple[int, int]) -> None:
    cards, fast = counts
    row = catalogue.machine("p5.48xlarge").model_copy(update={"network_cards": cards, "fast_nics": fast})
    layout = nic_layout(row)
    places = [(card["network_card_index"], card["device_index"]) for card in layout]
    assert len(set(places)) == len(places)
    assert places[0] == (0, 0)
    assert "interface_type" not in layout[0]
    carriers = [card["network_card_index"] for card in layout if card.get("interface_type") == "efa-only"]
    assert len(carriers) == len(set(carriers)) == fast
    assert all(index < cards for index, _ in places)


@pytest.mark.parametrize("layout", [nic_layout, batch_nic_layout])
def test_every_interface_is_private_in_the_security_group_and_deleted_with_its_machine(layout: Any) -> None:
    cards = network_interfaces(layout(catalogue.machine("p6-b300.48xlarge")), "sg-nodes")
    assert [card.get("associate_public_ip_address") for card in cards] == ["false", *[None] * (len(cards) - 1)]
    for card in cards:
        assert card["delete_on_termination"] == "true"
        assert card["security_groups"] == ["sg-nodes"]
