"""Addresses of a local pool's nodes: distinct and inside the CIDR, or one shared address if the system can bind no other."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuyard.components.local import network


@given(st.integers(8, 24), st.integers(1, 240))
def test_addresses_are_distinct_and_inside_the_cidr(prefix: int, count: int) -> None:
    cidr = str(IPv4Network((int(IPv4Address("127.77.0.0")), prefix), strict=False))
    made = network.plan_addresses(cidr, count)
    assert len(set(made)) == count
    assert all(IPv4Address(address) in IPv4Network(cidr) for address in made)
    assert made == network.plan_addresses(cidr, 240)[:count]  # a larger pool keeps the addresses of its nodes


@pytest.mark.parametrize("count", [0, 246])
def test_too_many_nodes_for_the_cidr(count: int) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 245"):
        network.plan_addresses("127.77.0.0/24", count)


def test_one_shared_address_if_no_other_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __enter__(self) -> Refusing:
            return self

        def __exit__(self, *_: object) -> None: ...

        def bind(self, _address: tuple[str, int]) -> None:
            raise OSError(49, "Can't assign requested address")

    monkeypatch.setattr(socket, "socket", Refusing)
    assert network._can_bind("127.77.0.10") is False
    only = network.Network.__new__(network.Network)
    only.distinct, only.cidr = False, "127.77.0.0/24"
    assert only.addresses(3) == ["127.0.0.1"] * 3
