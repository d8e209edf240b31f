"""The network cards of a machine as its launch template lists them: a pure function of the catalogue's row."""

from __future__ import annotations

from typing import Any

from .. import catalogue


def nic_layout(row: catalogue.Machine) -> list[dict[str, Any]]:
    """Interface by interface: `network_card_index`, `device_index`, `interface_type` (absent: plain ENA).

    One plain interface carries IP: card 0, device 0. Every card with EFA has one `efa-only` interface, which takes no address of the
    subnet: card 0 as its device 1, unless there is one card more than EFA (p6-b300: its card 0 has none), the others as device 0.
    docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html; the older layout (`efa` on card 0, device 1 elsewhere) is what
    aws-parallelcluster left with its pull request 7262.
    """
    first = 0 if row.fast_nics >= row.network_cards else 1
    fast = [(card, 1 if card == 0 else 0) for card in range(first, first + row.fast_nics)]
    plain = {"network_card_index": 0, "device_index": 0}
    return [plain, *({"network_card_index": card, "device_index": device, "interface_type": "efa-only"} for card, device in fast)]


def network_interfaces(row: catalogue.Machine, security_group_id: Any) -> list[dict[str, Any]]:
    """The cards with what all of them share: the nodes' security group, no public address, gone with the machine."""
    # texts, not booleans: so the provider wants them. With several cards the group stands in each, none beside them.
    shared = {"associate_public_ip_address": "false", "delete_on_termination": "true", "security_groups": [security_group_id]}
    return [{**card, **shared} for card in nic_layout(row)]
