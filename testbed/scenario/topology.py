"""The default country (DESIGN §4) as a `TopologyPlan`, and what a scenario may change in it. Pure.

::

    client1..n ─ access ─ isp ─ gateway … ═ nationallink ═ border ─ exchange ─ world hosts
                   │       │
                resolver  mobilegw ─ mobile ─ mobilesw ─ mobile1..n      (a further provider, `mobile`)

Further providers buy their way abroad from the first one, as Turkmenistan's do (one national gateway: facts §1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from testbed.scenario.plan import Cable, Interface, Node, Route, TopologyPlan

RESOLVER, PUBLIC_RESOLVER, AUTHORITY = "100.64.0.53", "198.18.0.53", "198.18.0.54"
RESOLVER6, PUBLIC_RESOLVER6 = "2001:db8:64::53", "2001:db8:18::53"
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
_INSIDE, _INSIDE6_ALL = "100.64.0.0/12", "2001:db8:64::/48"
_INSIDE6, _WORLD6, _WILDCARD6 = "2001:db8:64::", "2001:db8:18::", "2001:db8:19::/64"


@dataclass(frozen=True, slots=True)
class Provider:
    """A further Internet provider: its clients, and whether a box of its own stands between it and the others."""

    clients: int = 1
    box: bool = False


@dataclass(frozen=True, slots=True)
class TopologyShape:
    """How the default country is varied."""

    clients: int = 2
    boxes: Sequence[str] = ("gateway",)
    """The boxes in a row, from the inside out."""
    ipv6: bool = False
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    zone: Mapping[str, Sequence[str]] = field(default_factory=dict)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Further world hosts: name → address in 198.18.0.0/24."""
    isolated: bool = False
    """Whether the first provider keeps its clients apart."""

    @property
    def provider_boxes(self) -> tuple[str, ...]:
        """The boxes of the further providers."""
        return tuple(provider_box(name) for name, provider in self.providers.items() if provider.box)


def provider_box(provider: str) -> str:
    """Return the name of a provider's own box."""
    return f"{provider}gw"


def plan(shape: TopologyShape) -> TopologyPlan:
    """Compute the plan of a country."""
    nodes: list[Node] = []
    cables: list[Cable] = []
    nodes += _inside(shape, cables)
    for number, name in enumerate(shape.providers, 1):
        nodes += _provider(shape, cables, number, name)
    nodes += _middle(shape, cables)
    nodes += _world(shape, cables)
    groups = {**GROUPS, **{name: tuple(values) for name, values in shape.groups.items()}}
    zone = {name: tuple(values) for name, values in shape.zone.items()}
    return TopologyPlan(tuple(nodes), tuple(cables), groups, zone, shape.ipv6, _isolated(shape))


def _isolated(shape: TopologyShape) -> dict[str, str]:
    """Return the ports between which nothing may pass: the clients' on the switch, and around it by the router."""
    if not shape.isolated:
        return {}
    return {**{f"access-eth{index}": "" for index in range(shape.clients)}, "isp-eth0": "100.64.1.0/24"}


def client_names(shape: TopologyShape) -> list[str]:
    """Return the hosts that people use, those of the first provider first."""
    found = [f"client{number}" for number in range(1, shape.clients + 1)]
    for name, provider in shape.providers.items():
        found += [f"{name}{number}" for number in range(1, provider.clients + 1)]
    return found


def _six(shape: TopologyShape, *values: str) -> tuple[str, ...]:
    return values if shape.ipv6 else ()


def _transit(number: int) -> tuple[str, str]:
    base = number * 4
    return f"100.127.{base // 256}.{base % 256 + 1}", f"100.127.{base // 256}.{base % 256 + 2}"


def _transit6(number: int) -> tuple[str, str]:
    return f"2001:db8:127:{number:x}::1", f"2001:db8:127:{number:x}::2"


def _port(shape: TopologyShape, name: str, transit: int, end: int) -> Interface:
    """Return one end (0: inner, 1: outer) of a transit network between two routers."""
    six = _six(shape, f"{_transit6(transit)[end]}/126")
    return Interface(name, (f"{_transit(transit)[end]}/30", *six))


def _routes(shape: TopologyShape, four: str, six: str, transit: int, end: int) -> list[Route]:
    """Return the routes to a prefix of each family by one end of a transit network."""
    route6 = [Route(six, _transit6(transit)[end])] if shape.ipv6 else []
    return [Route(four, _transit(transit)[end]), *route6]


def _lan(number: int) -> tuple[str, str]:
    """Return the beginnings of a provider's own addresses: the first provider is number 0."""
    return f"100.{64 + number}", f"2001:db8:64:{number:x}::" if number else _INSIDE6


def _clients(shape: TopologyShape, number: int, names: Sequence[str]) -> list[Node]:
    four, six = _lan(number)
    default = (Route("default", f"{four}.0.1"), *([Route("default", f"{six}1")] if shape.ipv6 else []))
    found = []
    for index, name in enumerate(names, 1):
        addresses = (f"{four}.1.{index}/16", *_six(shape, f"{six}1:{index:x}/64"))
        found.append(Node(name, "host", "inside", (Interface(f"{name}-eth0", addresses),), default, resolver=RESOLVER))
    return found


def _switch(name: str, members: Sequence[str], cables: list[Cable]) -> Node:
    """Return a switch, each member's `eth0` plugged in."""
    for index, member in enumerate(members):
        cables.append(Cable(name, f"{name}-eth{index}", member, f"{member}-eth0"))
    ports = tuple(Interface(f"{name}-eth{index}") for index in range(len(members)))
    return Node(name, "switch", "inside", ports)


def _inside(shape: TopologyShape, cables: list[Cable]) -> list[Node]:
    clients = [f"client{number}" for number in range(1, shape.clients + 1)]
    found = [_switch("access", [*clients, "resolver", "isp"], cables)]
    found += _clients(shape, 0, clients)
    default = (Route("default", "100.64.0.1"), *([Route("default", f"{_INSIDE6}1")] if shape.ipv6 else []))
    resolver = Interface("resolver-eth0", (f"{RESOLVER}/16", *_six(shape, f"{_INSIDE6}53/64")))
    found.append(Node("resolver", "host", "inside", (resolver,), default, resolver=PUBLIC_RESOLVER))
    ports = [Interface("isp-eth0", ("100.64.0.1/16", *_six(shape, f"{_INSIDE6}1/64"))), _port(shape, "isp-eth1", 0, 0)]
    routes = _routes(shape, "default", "default", 0, 1)
    for number in range(1, len(shape.providers) + 1):
        ports.append(_port(shape, f"isp-eth{number + 1}", _provider_transit(number) + 1, 1))
        four, six = _lan(number)
        routes += _routes(shape, f"{four}.0.0/16", f"{six}/64", _provider_transit(number) + 1, 0)
    found.append(Node("isp", "router", "inside", tuple(ports), tuple(routes)))
    return found


def _provider_transit(number: int) -> int:
    """Return the first of a provider's two transit networks: to its box, and from there to the first provider."""
    return 64 + 2 * number


def _provider(shape: TopologyShape, cables: list[Cable], number: int, name: str) -> list[Node]:
    provider, (four, six), transit = shape.providers[name], _lan(number), _provider_transit(number)
    clients = [f"{name}{index}" for index in range(1, provider.clients + 1)]
    found = [_switch(f"{name}sw", [*clients, name], cables), *_clients(shape, number, clients)]
    lan = Interface(f"{name}-eth0", (f"{four}.0.1/16", *_six(shape, f"{six}1/64")))
    out = (name, f"{name}-eth1")
    first = transit if provider.box else transit + 1
    routes = _routes(shape, "default", "default", first, 1)
    found.append(Node(name, "router", "inside", (lan, _port(shape, out[1], first, 0)), tuple(routes)))
    if provider.box:
        box = provider_box(name)
        cables.append(Cable(*out, box, f"{box}-in"))
        out = (box, f"{box}-out")
        ports = (_port(shape, f"{box}-in", transit, 1), _port(shape, out[1], transit + 1, 0))
        routes = _routes(shape, f"{four}.0.0/16", f"{six}/64", transit, 0)
        routes += _routes(shape, "default", "default", transit + 1, 1)
        found.append(Node(box, "box", "middle", ports, tuple(routes)))
    cables.append(Cable(*out, "isp", f"isp-eth{number + 1}"))
    return found


def _middle(shape: TopologyShape, cables: list[Cable]) -> list[Node]:
    found: list[Node] = []
    previous = ("isp", "isp-eth1")
    for number, box in enumerate(shape.boxes):
        cables.append(Cable(*previous, box, f"{box}-in"))
        ports = (_port(shape, f"{box}-in", number, 1), _port(shape, f"{box}-out", number + 1, 0))
        routes = _routes(shape, _INSIDE, _INSIDE6_ALL, number, 0)
        routes += _routes(shape, "default", "default", number + 1, 1)
        for before in range(number):
            routes.append(Route(f"100.127.0.{before * 4}/30", _transit(number)[0]))
        found.append(Node(box, "box", "middle", ports, tuple(routes)))
        previous = (box, f"{box}-out")
    cables.append(Cable(*previous, "nationallink", "link-in"))
    cables.append(Cable("nationallink", "link-out", "border", "border-eth0"))
    found.append(Node("nationallink", "link", "middle", (Interface("link-in"), Interface("link-out"))))
    return found


def _world(shape: TopologyShape, cables: list[Cable]) -> list[Node]:
    last = len(shape.boxes)
    hosts = {**WORLD_HOSTS, **{name: (address,) for name, address in shape.hosts.items()}}
    lan = Interface("border-eth1", ("198.18.0.1/24", *_six(shape, f"{_WORLD6}1/64")))
    routes = [Route("100.64.0.0/10", _transit(last)[0]), *[Route(prefix, "198.18.0.80") for prefix in ANYCAST_PREFIXES]]
    if shape.ipv6:
        routes += [Route(_INSIDE6_ALL, _transit6(last)[0]), Route(_WILDCARD6, f"{_WORLD6}80")]
    found = [Node("border", "router", "outside", (_port(shape, "border-eth0", last, 1), lan), tuple(routes))]
    ports = tuple(Interface(f"exchange-eth{i}") for i in range(len(hosts) + 1))
    found.append(Node("exchange", "switch", "outside", ports))
    cables.append(Cable("exchange", "exchange-eth0", "border", "border-eth1"))
    back = (Route("default", "198.18.0.1"), *([Route("default", f"{_WORLD6}1")] if shape.ipv6 else []))
    for index, (name, own) in enumerate(hosts.items(), 1):
        six = _six(shape, *(f"{_WORLD6}{address.rpartition('.')[2]}/64" for address in own))
        addresses = (*(f"{address}/24" for address in own), *six)
        cables.append(Cable("exchange", f"exchange-eth{index}", name, f"{name}-eth0"))
        local = (*ANYCAST_PREFIXES, *_six(shape, _WILDCARD6)) if name == "web" else ()
        interface = Interface(f"{name}-eth0", addresses)
        found.append(Node(name, "host", "outside", (interface,), back, local, PUBLIC_RESOLVER))
    return found
