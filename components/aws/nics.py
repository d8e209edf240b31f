"""Network interfaces of a machine for its launch template, computed from the catalogue's entry of the machine."""

from __future__ import annotations

from typing import Any

from ...plain_data import PlainDict
from .. import catalogue

__all__ = ["network_interfaces", "nic_layout"]


def nic_layout(row: catalogue.Machine) -> list[PlainDict]:
    """Return `network_card_index`, `device_index` and `interface_type` (absent: plain ENA) of each interface.

    One plain interface carries IP traffic: card 0, device 0. Every card with EFA has one `efa-only` interface, which uses no IP address
    of the subnet. It is device 1 on card 0 and device 0 on other cards. Card 0 of a p6-b300 has no EFA.
    docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html; aws-parallelcluster
    replaced the older layout (`efa` on card 0, device 1 elsewhere) in its pull request 7262.
    """
    first = 0 if row.fast_nics >= row.network_cards else 1
    fast = [(card, 1 if card == 0 else 0) for card in range(first, first + row.fast_nics)]
    plain = {"network_card_index": 0, "device_index": 0}
    return [plain, *({"network_card_index": card, "device_index": device, "interface_type": "efa-only"} for card, device in fast)]


def network_interfaces(row: catalogue.Machine, security_group_id: Any) -> list[PlainDict]:
    """Return the interfaces with the fields they share: the nodes' security group, no public address, deleted with the machine."""
    # the provider requires booleans as strings; with interfaces, EC2 accepts the security group only there, not on the template itself
    shared = {"associate_public_ip_address": "false", "delete_on_termination": "true", "security_groups": [security_group_id]}
    return [{**card, **shared} for card in nic_layout(row)]
