"""The network cards of a machine as its launch template lists them: a pure function of the catalogue's row."""

from __future__ import annotations

from typing import Any

from .. import catalogue


def nic_layout(row: catalogue.Machine) -> list[dict[str, Any]]:
    """Card by card: `network_card_index`, `device_index`, `interface_type` (absent: plain ENA).

    Card 0 carries IP, so it is never efa-only: `efa` where it can be, plain where there is one card more than EFA (p6-b300). Every other
    card is `efa-only` on device 1, which takes no address of the subnet. Without EFA there is one plain card.
    docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html
    """
    if not row.fast_nics:
        return [{"network_card_index": 0, "device_index": 0}]
    first_has_it = row.fast_nics >= row.network_cards
    first = {"network_card_index": 0, "device_index": 0, **({"interface_type": "efa"} if first_has_it else {})}
    others = range(1, row.fast_nics + (0 if first_has_it else 1))
    return [first, *({"network_card_index": card, "device_index": 1, "interface_type": "efa-only"} for card in others)]


def network_interfaces(row: catalogue.Machine, security_group_id: Any) -> list[dict[str, Any]]:
    """The cards with what all of them share: the nodes' security group, no public address, gone with the machine."""
    # texts, not booleans: so the provider wants them. With several cards the group stands in each, none beside them.
    shared = {"associate_public_ip_address": "false", "delete_on_termination": "true", "security_groups": [security_group_id]}
    return [{**card, **shared} for card in nic_layout(row)]
