"""Where a run's round trips are measured, and whose questions count."""

from __future__ import annotations

import ipaddress

import pytest

from testbed.run.roundtrips import inside, outermost
from testbed.scenario.topology import Provider, TopologyShape, plan

SHAPE = TopologyShape(boxes=("gateway", "second"), ipv6=True, providers={"mobile": Provider(box=True)})


def test_the_outermost_of_several_boxes_stands_before_the_link() -> None:
    assert outermost(plan(SHAPE)) == "second"
    assert outermost(plan(TopologyShape())) == "gateway"
    assert outermost(plan(TopologyShape(boxes=()))) == "isp"


@pytest.mark.parametrize(
    ("address", "asks"),
    [
        ("100.64.1.1", True), ("100.64.0.53", True), ("100.65.1.1", True), ("2001:db8:64::1:1", True),
        ("2001:db8:64:1::1:1", True), ("198.18.0.80", False), ("198.19.3.4", False), ("2001:db8:18::80", False),
    ],
)  # fmt: skip
def test_hosts_of_every_provider_ask_and_the_world_answers(address: str, asks: bool) -> None:
    assert inside(plan(SHAPE))(ipaddress.ip_address(address).packed) is asks
