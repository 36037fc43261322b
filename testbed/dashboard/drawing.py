"""A country's plan as a drawing: a tree hung by the national link, inside to the left, the world to the right. Pure.

Positions are in a unit grid of columns and rows; the page scales them. An edge runs from its inner to its outer end.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping
from typing import Any

_ROWS = 8
"""Leaves of one parent stand in columns of at most so many."""
_SUBCOLUMN = 0.75

Plan = Mapping[str, Any]


def draw(plan: Plan) -> dict[str, Any]:
    """Return `nodes` (name, kind, side, x, y, parent, addresses), `edges` (a, b, interfaces) and the size.

    A node that no cable joins to the national link is left out. `ValueError` if the plan has no link.
    """
    nodes = {node["name"]: node for node in plan["nodes"]}
    root = next((node["name"] for node in plan["nodes"] if node["kind"] == "link"), None)
    if root is None:
        raise ValueError("a plan without a national link can't be drawn")
    tree = _Tree(plan, root)
    inside, outside = tree.sides()
    heights = [tree.place(name, root, side, 1, 0.0) for name, side in ((inside, -1), (outside, 1)) if name]
    tree.centre(root, heights)
    left = min(x for x, _ in tree.at.values())
    drawn = [
        {
            "name": name, "kind": nodes[name]["kind"], "side": nodes[name]["side"], "x": round(x - left, 3),
            "y": round(y, 3), "parent": tree.parent.get(name),
            "addresses": [a.partition("/")[0] for i in nodes[name]["interfaces"] for a in i["addresses"]],
        }
        for name, (x, y) in tree.at.items()
    ]  # fmt: skip
    edges = [edge for edge in map(tree.edge, plan["cables"]) if edge is not None]
    size = {"columns": max(node["x"] for node in drawn), "rows": max(1.0, *heights)}
    return {"nodes": drawn, "edges": edges, **size}


class _Tree:
    def __init__(self, plan: Plan, root: str) -> None:
        self.root = root
        self.at: dict[str, tuple[float, float]] = {root: (0.0, 0.0)}
        self.parent: dict[str, str] = {}
        self._ports: dict[str, list[tuple[str, str]]] = {}
        for cable in plan["cables"]:
            self._ports.setdefault(cable["node_a"], []).append((cable["interface_a"], cable["node_b"]))
            self._ports.setdefault(cable["node_b"], []).append((cable["interface_b"], cable["node_a"]))

    def sides(self) -> tuple[str | None, str | None]:
        """Return the link's neighbours on the inside and on the outside."""
        ports = dict(self._ports.get(self.root, ()))
        return ports.get("link-in"), ports.get("link-out")

    def place(self, name: str, parent: str, side: int, depth: float, top: float) -> float:
        """Place a node and all behind it from the row `top` down; return how many rows they take."""
        self.parent[name] = parent
        children = [child for _, child in self._ports[name] if child != parent and child not in self.at]
        leaves = [child for child in children if len(self._ports[child]) == 1]
        rows = math.ceil(len(leaves) / math.ceil(len(leaves) / _ROWS)) if leaves else 0
        for number, leaf in enumerate(leaves):
            self.parent[leaf] = name
            column, row = divmod(number, rows)
            self.at[leaf] = (side * (depth + 1 + column * _SUBCOLUMN), top + row + 0.5)
        taken = float(rows)
        for child in children:
            if child not in leaves:
                taken += self.place(child, name, side, depth + 1, top + taken)
        taken = max(taken, 1.0)
        behind = [self.at[child][1] for child in children]
        self.at[name] = (side * depth, sum(behind) / len(behind) if behind else top + 0.5)
        return taken

    def centre(self, root: str, heights: list[float]) -> None:
        """Move the lower of the two sides to the middle of the higher, the link between them."""
        tallest = max(heights, default=1.0)
        shifts = dict(zip((-1, 1), ((tallest - height) / 2 for height in heights), strict=False))
        for name, (x, y) in self.at.items():
            if name != root:
                self.at[name] = (x, y + shifts.get(-1 if x < 0 else 1, 0.0))
        inner = [self.at[name][1] for name in self.sides() if name]
        self.at[root] = (0.0, sum(inner) / len(inner) if inner else 0.5)

    def edge(self, cable: Mapping[str, str]) -> dict[str, str] | None:
        """Return a cable from its inner to its outer end."""
        ends = ((cable["node_a"], cable["interface_a"]), (cable["node_b"], cable["interface_b"]))
        if any(node not in self.at for node, _ in ends):
            return None
        (a, a_if), (b, b_if) = sorted(ends, key=lambda end: self.at[end[0]][0])
        return {"a": a, "a_if": a_if, "b": b, "b_if": b_if}


def locate(plan: Plan) -> Callable[[str], str | None]:
    """Return a function from an address to the node that has it, or that answers for its prefix."""
    exact: dict[str, str] = {}
    prefixes = []
    for node in plan["nodes"]:
        for interface in node["interfaces"]:
            exact.update({address.partition("/")[0]: node["name"] for address in interface["addresses"]})
        prefixes += [(ipaddress.ip_network(p), node["name"]) for p in node.get("local_prefixes", ())]

    def find(address: str) -> str | None:
        if address not in exact:
            try:
                parsed = ipaddress.ip_address(address)
            except ValueError:
                return None
            found = next((name for network, name in prefixes if parsed in network), None)
            if found is None:
                return None
            exact[address] = found
        return exact[address]

    return find
