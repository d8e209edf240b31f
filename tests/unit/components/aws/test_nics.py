"""The cards of each machine, as tables: what EC2 takes, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import catalogue
from components.aws.nics import network_interfaces, nic_layout

FIRST_EFA = (0, 0, "efa")
FIRST_PLAIN = (0, 0, None)


def rest(first: int, last: int) -> list[tuple[int, int, str]]:
    return [(card, 1, "efa-only") for card in range(first, last + 1)]


GOLDEN = {
    "g5.xlarge": [FIRST_PLAIN],
    "g6.12xlarge": [FIRST_EFA],
    "g6e.24xlarge": [FIRST_EFA, *rest(1, 1)],
    "g6e.48xlarge": [FIRST_EFA, *rest(1, 3)],
    "p4d.24xlarge": [FIRST_EFA, *rest(1, 3)],
    "p5.4xlarge": [FIRST_EFA],
    "p5.48xlarge": [FIRST_EFA, *rest(1, 31)],
    "p5en.48xlarge": [FIRST_EFA, *rest(1, 15)],
    "p6-b200.48xlarge": [FIRST_EFA, *rest(1, 7)],
    "p6-b300.48xlarge": [FIRST_PLAIN, *rest(1, 16)],
}


@pytest.mark.parametrize("machine", GOLDEN)
def test_the_cards_of_a_machine(machine: str) -> None:
    cards = nic_layout(catalogue.machine(machine, ("aws",)))
    assert [(card["network_card_index"], card["device_index"], card.get("interface_type")) for card in cards] == GOLDEN[machine]


@pytest.mark.parametrize("machine", catalogue.table("aws").machines)
def test_every_machine_of_the_catalogue_gets_cards_that_it_has(machine: str) -> None:
    row = catalogue.machine(machine, ("aws",))
    cards = nic_layout(row)
    assert sum(card.get("interface_type", "").startswith("efa") for card in cards) == row.fast_nics
    assert all(card["network_card_index"] < row.network_cards for card in cards)


@given(st.integers(1, 64).flatmap(lambda cards: st.tuples(st.just(cards), st.integers(0, cards))))
def test_cards_of_any_machine(counts: tuple[int, int]) -> None:
    cards, fast = counts
    row = catalogue.machine("p5.48xlarge").model_copy(update={"network_cards": cards, "fast_nics": fast})
    layout = nic_layout(row)
    indices = [card["network_card_index"] for card in layout]
    assert indices == list(range(len(layout)))
    assert len(layout) <= cards
    assert layout[0]["device_index"] == 0
    assert layout[0].get("interface_type") != "efa-only"
    assert sum("interface_type" in card for card in layout) == fast


def test_every_card_is_private_in_the_group_and_goes_with_its_machine() -> None:
    for card in network_interfaces(catalogue.machine("p6-b300.48xlarge"), "sg-nodes"):
        assert card["associate_public_ip_address"] == "false"
        assert card["delete_on_termination"] == "true"
        assert card["security_groups"] == ["sg-nodes"]
