"""The net as pure data: nodes, interfaces, addresses, routes, cables. Computed here, executed by the fabric.

Nothing in this module knows how a node is made; the same plan can be printed, drawn, golden-tested, or built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_interface
from typing import Any, Literal

Kind = Literal["host", "router", "box", "link", "switch"]
Place = Literal["inside", "middle", "outside"]


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: its name (at most 15 characters) and its addresses with prefix length."""

    name: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route to a prefix (`default` or CIDR) by a neighbour's address."""

    to: str
    via: str


@dataclass(frozen=True, slots=True)
class Node:
    """One namespace. `local_prefixes` are answered by the node as if every address in them were its own."""

    name: str
    kind: Kind
    side: Place
    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...] = ()
    local_prefixes: tuple[str, ...] = ()
    resolver: str | None = None


@dataclass(frozen=True, slots=True)
class Cable:
    """A virtual cable between two interfaces."""

    node_a: str
    interface_a: str
    node_b: str
    interface_b: str


@dataclass(frozen=True, slots=True)
class TopologyPlan:
    """The whole net, with the address groups policies name and the names the world's DNS fixes (`*.suffix` allowed)."""

    nodes: tuple[Node, ...]
    cables: tuple[Cable, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    zone: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ipv6: bool = False
    isolated: Mapping[str, str] = field(default_factory=dict)
    """Ports that pass no packet to each other: a switch's, or a router's port (toward hosts of that prefix)."""

    def node(self, name: str) -> Node:
        """Return the node of that name; `KeyError` if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def neighbours(self, name: str) -> dict[str, list[str]]:
        """Return, by a node's interfaces, the addresses of the others in its networks: all it reaches unrouted."""
        found: dict[str, list[str]] = {}
        others = [
            ip_interface(address)
            for node in self.nodes
            if node.name != name
            for interface in node.interfaces
            for address in interface.addresses
        ]
        for interface in self.node(name).interfaces:
            networks = [ip_interface(address).network for address in interface.addresses]
            found[interface.name] = [str(other.ip) for other in others if any(other.ip in net for net in networks)]
        return found

    def of_kind(self, kind: Kind) -> tuple[Node, ...]:
        """Return the nodes of one kind, in the plan's order."""
        return tuple(node for node in self.nodes if node.kind == kind)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return asdict(self)
