"""Addresses of names: stable, whatever their case; the longest suffix of the zone wins."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.world.names import addresses_for

ZONE = {"a.example": ["198.18.0.1"], "*.example": ["198.18.0.2"], "*.b.example": ["198.18.0.3"]}


@pytest.mark.parametrize(
    ("name", "address"),
    [("a.example", 1), ("A.Example.", 1), ("x.example", 2), ("x.a.example", 2), ("x.b.example", 3), ("b.example", 2)],
)
def test_the_zone_decides_first(name: str, address: int) -> None:
    assert addresses_for(name, ZONE) == (f"198.18.0.{address}",)


@given(st.text(max_size=260))
def test_any_name_has_one_stable_address_of_each_family(name: str) -> None:
    four, six = addresses_for(name, {})
    assert (four, six) == addresses_for(name.lower(), {})
    assert ipaddress.ip_address(four) in ipaddress.ip_network("198.19.0.0/16")
    assert four.rpartition(".")[2] not in ("0", "255")
    assert ipaddress.ip_address(six) in ipaddress.ip_network("2001:db8:19::/64")
