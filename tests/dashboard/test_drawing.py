"""The country as a drawing: every node once, in its place, no two in the same."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.dashboard.drawing import draw, locate
from testbed.scenario.topology import Provider, TopologyShape, plan

SHAPES = {
    "default": TopologyShape(),
    "class of 30": TopologyShape(clients=30),
    "two boxes, IPv6": TopologyShape(boxes=("gateway", "second"), ipv6=True),
    "providers": TopologyShape(providers={"agts": Provider(2), "mobile": Provider(3, True)}),
}


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def shape(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_every_node_and_cable_is_drawn_once(shape: TopologyShape) -> None:
    country = plan(shape).as_json()
    drawing = draw(country)
    assert sorted(node["name"] for node in drawing["nodes"]) == sorted(node["name"] for node in country["nodes"])
    assert len(drawing["edges"]) == len(country["cables"])


def test_no_two_nodes_stand_in_one_place(shape: TopologyShape) -> None:
    nodes = draw(plan(shape).as_json())["nodes"]
    for index, one in enumerate(nodes):
        for other in nodes[index + 1 :]:
            assert abs(one["x"] - other["x"]) > 0.5 or abs(one["y"] - other["y"]) > 0.5, (one["name"], other["name"])


def test_the_inside_is_left_of_the_link_and_the_world_right(shape: TopologyShape) -> None:
    nodes = {node["name"]: node for node in draw(plan(shape).as_json())["nodes"]}
    middle = nodes["nationallink"]["x"]
    for node in nodes.values():
        assert node["side"] != "inside" or node["x"] < middle
        assert node["side"] != "outside" or node["x"] > middle
    assert nodes["gateway"]["x"] < middle < nodes["border"]["x"]


def test_it_lies_within_its_size(shape: TopologyShape) -> None:
    drawing = draw(plan(shape).as_json())
    for node in drawing["nodes"]:
        assert 0 <= node["x"] <= drawing["columns"]
        assert 0 <= node["y"] <= drawing["rows"]
    assert drawing["rows"] <= 16


def test_an_edge_runs_from_inside_out() -> None:
    edges = draw(plan(TopologyShape()).as_json())["edges"]
    assert {"a": "gateway", "a_if": "gateway-out", "b": "nationallink", "b_if": "link-in"} in edges
    assert {"a": "client1", "a_if": "client1-eth0", "b": "access", "b_if": "access-eth0"} in edges


def test_an_address_belongs_to_its_node_and_a_prefix_to_who_answers_for_it() -> None:
    find = locate(plan(TopologyShape(ipv6=True)).as_json())
    assert find("100.64.1.2") == "client2"
    assert find("2001:db8:64::1:1") == "client1"
    assert find("198.19.3.4") == "web"
    assert find("203.0.113.1") is None
    assert find("no address") is None


def test_a_plan_without_a_link_is_refused() -> None:
    with pytest.raises(ValueError, match="national link"):
        draw({"nodes": [], "cables": []})
