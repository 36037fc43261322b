"""Plans of countries: golden files for three shapes, and what must hold for any shape."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.scenario.plan import TopologyPlan
from testbed.scenario.topology import Provider, TopologyShape, client_names, plan

GOLDEN = Path(__file__).parent / "golden"
SHAPES = {
    "default": TopologyShape(),
    "two-boxes-ipv6": TopologyShape(clients=1, boxes=("gateway", "second"), ipv6=True),
    "providers": TopologyShape(
        clients=1,
        providers={"agts": Provider(1), "mobile": Provider(2, box=True)},
        hosts={"bridge": "198.18.0.40"},
        groups={"vps": ("198.18.144.0/24",)},
        zone={"*.example": ("198.18.128.7",)},
    ),
}
shapes = st.builds(
    TopologyShape,
    clients=st.integers(1, 100),
    boxes=st.sampled_from([("gateway",), ("gateway", "b2"), ("gateway", "b2", "b3")]),
    ipv6=st.booleans(),
    providers=st.dictionaries(
        st.sampled_from(["agts", "mobile", "isp9"]), st.builds(Provider, st.integers(1, 5), st.booleans())
    ),
)


@pytest.mark.parametrize("name", SHAPES)
def test_a_plan_is_as_it_was(name: str) -> None:
    golden = GOLDEN / f"{name}.json"
    assert json.loads(golden.read_text(encoding="utf-8")) == json.loads(json.dumps(plan(SHAPES[name]).as_json()))


def test_isolated_clients_are_kept_apart_on_the_switch_and_around_it() -> None:
    apart = plan(TopologyShape(clients=3, isolated=True)).isolated
    assert apart == {"access-eth0": "", "access-eth1": "", "access-eth2": "", "isp-eth0": "100.64.1.0/24"}
    clients = {i.addresses[0] for n in plan(TopologyShape(clients=100)).nodes for i in n.interfaces
               if n.name.startswith("client")}  # fmt: skip
    assert all(ipaddress.ip_interface(address).ip in ipaddress.ip_network("100.64.1.0/24") for address in clients)


def walk(country: TopologyPlan, start: str, target: str) -> list[str]:
    """Follow routes by longest prefix, as the kernel does, and return the nodes on the way."""
    wanted = ipaddress.ip_address(target)
    owner = {a.partition("/")[0]: n.name for n in country.nodes for i in n.interfaces for a in i.addresses}
    way = [start]
    while len(way) < 30:
        node = country.node(way[-1])
        if owner.get(target) == node.name or any(wanted in ipaddress.ip_network(p) for p in node.local_prefixes):
            return way
        near = [ipaddress.ip_interface(a).network for i in node.interfaces for a in i.addresses]
        if any(wanted in network for network in near) and target in owner:
            way.append(owner[target])
            continue
        routes = [
            (-1 if r.to == "default" else ipaddress.ip_network(r.to).prefixlen, r.via)
            for r in node.routes
            if ipaddress.ip_address(r.via).version == wanted.version
            and (r.to == "default" or wanted in ipaddress.ip_network(r.to))
        ]
        way.append(owner[max(routes)[1]])
    raise AssertionError(f"a circle: {way}")


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_every_client_reaches_the_world_and_back_through_the_boxes(shape: TopologyShape) -> None:
    country = plan(shape)
    for client in [*client_names(shape)[:2], client_names(shape)[-1]]:
        for own in country.node(client).interfaces[0].addresses:
            address = own.partition("/")[0]
            far = "2001:db8:18::20" if ":" in address else "198.18.0.20"
            there = walk(country, client, far)
            assert there[-1] == "messenger"
            assert [name for name in there if name in shape.boxes] == list(shape.boxes)
            assert walk(country, "messenger", address) == there[::-1]
    assert walk(country, client_names(shape)[-1], "198.19.3.4")[-1] == "web"


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_names_and_addresses_are_fit_for_the_kernel(shape: TopologyShape) -> None:
    country = plan(shape)
    interfaces = [interface for node in country.nodes for interface in node.interfaces]
    assert all(len(interface.name) <= 15 for interface in interfaces)
    ends = [(c.node_a, c.interface_a) for c in country.cables] + [(c.node_b, c.interface_b) for c in country.cables]
    assert sorted(ends) == sorted((node.name, i.name) for node in country.nodes for i in node.interfaces)
    addresses = [a.partition("/")[0] for i in interfaces for a in i.addresses]
    assert len(addresses) == len(set(addresses))
    own = [ipaddress.ip_network(p) for p in ("100.64.0.0/10", "198.18.0.0/15", "2001:db8::/32")]
    assert all(any(ipaddress.ip_address(a) in network for network in own) for a in addresses)
