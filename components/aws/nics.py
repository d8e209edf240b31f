"""Network interfaces of a machine for its launch template, from the catalogue's row: one layout for `vms`, one for `batch`."""

from __future__ import annotations

from typing import Any

from ...plain_data import PlainDict
from .. import catalogue

__all__ = ["batch_nic_layout", "network_interfaces", "nic_layout"]


def nic_layout(row: catalogue.Machine) -> list[PlainDict]:
    """Return `network_card_index`, `device_index` and `interface_type` (absent: plain ENA) of each interface of a `vms` machine.

    One plain interface carries IP traffic: card 0, device 0. Every card with EFA has one `efa-only` interface, which uses no IP address
    of the subnet. It is device 1 on card 0 and device 0 on other cards. Card 0 of a p6-b300 has no EFA.
    docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa-acc-inst-types.html; aws-parallelcluster
    replaced the older layout (`efa` on card 0, device 1 elsewhere) in its pull request 7262.
    """
    first = _first_fast_card(row)
    fast = [(card, 1 if card == 0 else 0) for card in range(first, first + row.fast_nics)]
    plain = {"network_card_index": 0, "device_index": 0}
    return [plain, *({"network_card_index": card, "device_index": device, "interface_type": "efa-only"} for card, device in fast)]


def batch_nic_layout(row: catalogue.Machine) -> list[PlainDict]:
    """Return the interfaces of a `batch` machine with EFA: an `efa` interface on each EFA card.

    An `efa` interface also carries IP traffic and uses an IP address of the subnet. Card 0 keeps room for one more interface: Batch adds
    it for the container of a multi-node job (awsvpc). This is the layout of AWS's own templates for Batch on P5 and P6:
    github.com/aws-samples/awsome-distributed-training, 1.architectures/3.aws-batch, read on 2026-12-01. For a machine without EFA the list
    is empty: its compute environment sets the security group.
    """
    if not row.fast_nics:
        return []
    first = _first_fast_card(row)
    plain = [{"network_card_index": 0, "device_index": 0}] if first else []
    return [
        *plain,
        *({"network_card_index": card, "device_index": 0, "interface_type": "efa"} for card in range(first, first + row.fast_nics)),
    ]


def network_interfaces(layout: list[PlainDict], security_group_id: Any) -> list[PlainDict]:
    """Return the interfaces with the fields they share: the nodes' security group, no public address, deleted with the machine.

    Only the first interface states that it gets no public address: EC2 gives none to the others, and refuses the field for `efa-only`
    interfaces, which have no address at all.
    """
    # the provider requires booleans as strings; with interfaces, EC2 accepts the security group only there, not on the template itself
    shared = {"delete_on_termination": "true", "security_groups": [security_group_id]}
    private = {"associate_public_ip_address": "false"}
    return [{**card, **shared, **({} if index else private)} for index, card in enumerate(layout)]


def _first_fast_card(row: catalogue.Machine) -> int:
    return 0 if row.fast_nics >= row.network_cards else 1
