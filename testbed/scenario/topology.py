"""The default country (DESIGN §4) as a `TopologyPlan`, and what a scenario may change in it. Pure.

::

    client1..n ─ access ─ isp ─ gateway … ═ nationallink ═ border ─ exchange ─ world hosts
                   │
                resolver
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from testbed.scenario.plan import Cable, Interface, Node, Route, TopologyPlan

RESOLVER, PUBLIC_RESOLVER, AUTHORITY = "100.64.0.53", "198.18.0.53", "198.18.0.54"
WORLD_HOSTS: Mapping[str, tuple[str, ...]] = {
    "web": ("198.18.0.80",),
    "dns": (PUBLIC_RESOLVER, AUTHORITY),
    "messenger": ("198.18.0.20",),
    "media": ("198.18.0.21",),
    "relay": ("198.18.0.22",),
    "tools": ("198.18.0.30",),
    "blockpage": ("198.18.0.99",),
}
GROUPS: Mapping[str, tuple[str, ...]] = {"cloudflare": ("198.18.128.0/20",), "hosting": ("198.18.144.0/20",)}
ANYCAST_PREFIXES = ("198.18.128.0/17", "198.19.0.0/16")
_INSIDE6, _WORLD6, _WILDCARD6 = "2001:db8:64::", "2001:db8:18::", "2001:db8:19::/64"


@dataclass(frozen=True, slots=True)
class TopologyShape:
    """How the default country is varied."""

    clients: int = 2
    boxes: Sequence[str] = ("gateway",)
    """The boxes in a row, from the inside out."""
    ipv6: bool = False
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    zone: Mapping[str, Sequence[str]] = field(default_factory=dict)
    world: Sequence[str] = tuple(WORLD_HOSTS)
    """The world hosts to make; `web` and `dns` are always there."""


def plan(shape: TopologyShape) -> TopologyPlan:
    """Compute the plan of a country."""
    nodes: list[Node] = []
    cables: list[Cable] = []
    access = [*[f"client{i}" for i in range(1, shape.clients + 1)], "resolver", "isp"]
    nodes += _inside(shape, cables, access)
    nodes += _middle(shape, cables)
    nodes += _world(shape, cables)
    groups = {**GROUPS, **{name: tuple(values) for name, values in shape.groups.items()}}
    zone = {name: tuple(values) for name, values in shape.zone.items()}
    return TopologyPlan(tuple(nodes), tuple(cables), groups, zone, shape.ipv6)


def _six(shape: TopologyShape, address: str) -> tuple[str, ...]:
    return (address,) if shape.ipv6 else ()


def _inside(shape: TopologyShape, cables: list[Cable], access: list[str]) -> list[Node]:
    default = [Route("default", "100.64.0.1"), *([Route("default", f"{_INSIDE6}1")] if shape.ipv6 else [])]
    found = [Node("access", "switch", "inside", tuple(Interface(f"access-eth{i}") for i in range(len(access))))]
    for index, name in enumerate(access):
        cables.append(Cable("access", f"access-eth{index}", name, f"{name}-eth0"))
        if name.startswith("client"):
            number = int(name.removeprefix("client"))
            addresses = (f"100.64.1.{number}/16", *_six(shape, f"{_INSIDE6}1:{number:x}/64"))
            interface = Interface(f"{name}-eth0", addresses)
            found.append(Node(name, "host", "inside", (interface,), tuple(default), resolver=RESOLVER))
    resolver = Interface("resolver-eth0", (f"{RESOLVER}/16", *_six(shape, f"{_INSIDE6}53/64")))
    found.append(Node("resolver", "host", "inside", (resolver,), tuple(default), resolver=PUBLIC_RESOLVER))
    up = Route("default", _transit(0)[1])
    ports = (
        Interface("isp-eth0", ("100.64.0.1/16", *_six(shape, f"{_INSIDE6}1/64"))),
        Interface("isp-eth1", (f"{_transit(0)[0]}/30", *_six(shape, f"{_transit6(0)[0]}/126"))),
    )
    routes = (up, *([Route("default", _transit6(0)[1])] if shape.ipv6 else []))
    found.append(Node("isp", "router", "inside", ports, routes))
    return found


def _transit(number: int) -> tuple[str, str]:
    base = number * 4
    return f"100.127.{base // 256}.{base % 256 + 1}", f"100.127.{base // 256}.{base % 256 + 2}"


def _transit6(number: int) -> tuple[str, str]:
    return f"2001:db8:127:{number:x}::1", f"2001:db8:127:{number:x}::2"


def _middle(shape: TopologyShape, cables: list[Cable]) -> list[Node]:
    found: list[Node] = []
    previous, port = "isp", "isp-eth1"
    for number, box in enumerate(shape.boxes):
        inner, outer = _transit(number)[1], _transit(number + 1)[0]
        inner6, outer6 = _transit6(number)[1], _transit6(number + 1)[0]
        cables.append(Cable(previous, port, box, f"{box}-in"))
        ports = (
            Interface(f"{box}-in", (f"{inner}/30", *_six(shape, f"{inner6}/126"))),
            Interface(f"{box}-out", (f"{outer}/30", *_six(shape, f"{outer6}/126"))),
        )
        routes = [Route("100.64.0.0/16", _transit(number)[0]), Route("default", _transit(number + 1)[1])]
        routes += [Route(f"100.127.0.{before * 4}/30", _transit(number)[0]) for before in range(number)]
        if shape.ipv6:
            routes += [Route(f"{_INSIDE6}/64", _transit6(number)[0]), Route("default", _transit6(number + 1)[1])]
        found.append(Node(box, "box", "middle", ports, tuple(routes)))
        previous, port = box, f"{box}-out"
    cables.append(Cable(previous, port, "nationallink", "link-in"))
    cables.append(Cable("nationallink", "link-out", "border", "border-eth0"))
    found.append(Node("nationallink", "link", "middle", (Interface("link-in"), Interface("link-out"))))
    return found


def _world(shape: TopologyShape, cables: list[Cable]) -> list[Node]:
    last = len(shape.boxes)
    outside, inside = _transit(last)[1], _transit(last)[0]
    hosts = [name for name in WORLD_HOSTS if name in shape.world or name in ("web", "dns")]
    border_ports = (
        Interface("border-eth0", (f"{outside}/30", *_six(shape, f"{_transit6(last)[1]}/126"))),
        Interface("border-eth1", ("198.18.0.1/24", *_six(shape, f"{_WORLD6}1/64"))),
    )
    routes = [Route("100.64.0.0/10", inside), *[Route(prefix, "198.18.0.80") for prefix in ANYCAST_PREFIXES]]
    if shape.ipv6:
        routes += [Route(f"{_INSIDE6}/48", _transit6(last)[0]), Route(_WILDCARD6, f"{_WORLD6}80")]
    found = [Node("border", "router", "outside", border_ports, tuple(routes))]
    ports = tuple(Interface(f"exchange-eth{i}") for i in range(len(hosts) + 1))
    found.append(Node("exchange", "switch", "outside", ports))
    cables.append(Cable("exchange", "exchange-eth0", "border", "border-eth1"))
    for index, name in enumerate(hosts, 1):
        addresses = [f"{address}/24" for address in WORLD_HOSTS[name]]
        addresses += _six(shape, f"{_WORLD6}{WORLD_HOSTS[name][0].rpartition('.')[2]}/64")
        cables.append(Cable("exchange", f"exchange-eth{index}", name, f"{name}-eth0"))
        back = [Route("default", "198.18.0.1"), *([Route("default", f"{_WORLD6}1")] if shape.ipv6 else [])]
        local = (*ANYCAST_PREFIXES, *_six(shape, _WILDCARD6)) if name == "web" else ()
        interface = Interface(f"{name}-eth0", tuple(addresses))
        found.append(Node(name, "host", "outside", (interface,), tuple(back), local, PUBLIC_RESOLVER))
    return found
