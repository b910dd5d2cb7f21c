"""Subnets and addresses of a stack."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from cais.sandbox import addresses
from cais.sandbox.addresses import Subnet
from cais.sandbox.api import NetworkSpec, Refused


def test_a_chosen_subnet_touches_nothing_that_is_taken() -> None:
    taken = [IPv4Network("172.16.0.0/12"), IPv4Network("192.168.1.7/32")]
    assert addresses.choose(NetworkSpec(name="n"), taken) == IPv4Network("192.168.16.0/20")


def test_hundreds_of_networks_find_subnets_of_their_own() -> None:
    found: list[IPv4Network] = []
    for number in range(200):
        found.append(addresses.choose(NetworkSpec(name=str(number)), found))
    assert len(set(found)) == 200


def test_free_addresses_are_given_in_turn_and_again_when_all_were() -> None:
    subnet = Subnet(NetworkSpec(name="n"), IPv4Network("10.0.0.0/29"))
    first = subnet.take()
    subnet.release(first)
    assert subnet.take() != first
    rest = {subnet.take() for _ in range(4)}
    assert first in rest
    with pytest.raises(Refused, match="no free address"):
        subnet.take()


def test_a_wanted_address_must_be_free_and_inside() -> None:
    subnet = Subnet(NetworkSpec(name="n", gateway="10.0.0.6"), IPv4Network("10.0.0.0/29"))
    assert subnet.take("10.0.0.1") == IPv4Address("10.0.0.1")
    for bad in ("10.0.0.1", "10.0.0.6", "10.0.0.7", "10.0.1.1", "web"):
        with pytest.raises(Refused):
            subnet.take(bad)
