"""The short cut for the bulk of passed TCP flows: from one port of the box to the other, before the IP stack sees it.

    port it comes by (ingress)             forward (`kernel`)                  port it leaves by (egress)
    in `bulk`, long, ACK alone: out ─────────────────────────────────────────▶
    SYN: its flow leaves `bulk` ─────────▶ passed, short: marked ────────────▶ marked: its flow joins `bulk`
    everything else ─────────────────────▶ as `kernel` says

Only what a router does nothing special to goes this way: a whole IP packet without options that fits the way out and
lives longer than one more hop. All else of the flow, its bare acknowledgements and the ends of its bursts above all, is
forwarded as ever; that keeps the flow in `kernel`'s set of passed ones and, by its mark, in `bulk`. So a flow is in
`bulk` no longer than it is there.

A packet's way out must be known without a look at the routes: from a port with a single neighbour.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.dpi.flow import IDLE_S

_SIOCGIFMTU = 0x8921
_LONG_BYTES = 512
"""Shorter packets are forwarded as ever: an acknowledgement renews its flow, and costs little."""
_FAMILIES = {4: "ip", 6: "ip6"}
_IS = {4: "meta protocol ip", 6: "meta protocol ip6"}
_MOST_FLOWS = 1_000_000
_IN, _OUT, _RENEW = "bulk_in", "bulk_out", "renew"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the box, the largest packet it takes in bytes, and its neighbours' addresses, IPv4 and IPv6."""

    name: str
    mtu: int
    neighbours: Sequence[str] = ()

    @classmethod
    def here(cls, name: str, neighbours: Sequence[str]) -> Port:
        """Return a port of this namespace; `OSError` if there is no such interface."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            asked = struct.pack("16s16x", name.encode())
            mtu = struct.unpack_from("16xi", fcntl.ioctl(any_socket, _SIOCGIFMTU, asked))[0]
        return cls(name, mtu, neighbours)

    def neighbour(self, version: int) -> str | None:
        """Return the one neighbour's address; None if there are several or none."""
        found = [address for address in self.neighbours if (":" in address) == (version == 6)]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class ShortCut:
    """The two ports of a box, and the rules that lead from one to the other."""

    inside: Port
    outside: Port

    def ruleset(self, table: str, counter: str, mark: int, *, ipv6: bool) -> str:
        """Return the commands that make the rules, or make them anew with no flow in them, as `nft -f` reads them.

        `table`: of the family netdev; `counter`: of passed packets; `mark`: of the packets that renew their flow.
        """
        name = f"netdev {table}"
        lines = [
            f"add table {name}",
            *_hook(f"{name} {_IN}", "ingress", self.inside),
            *_hook(f"{name} {_OUT}", "ingress", self.outside),
            *_hook(f"{name} {_RENEW}", "egress", self.outside),
            *_anew("counter", f"{name} {counter}", "{ }"),
            f"add rule {name} {_RENEW} meta mark != {mark:#x} accept",
        ]
        for version in (4, 6) if ipv6 else (4,):
            flows, inward, outward = f"bulk{version}", self.inside.neighbour(version), self.outside.neighbour(version)
            if inward is None or outward is None:
                continue
            into, back = _key(version, from_inside=True), _key(version, from_inside=False)
            lines += _anew("set", f"{name} {flows}", _set(version))
            for chain, key, port, there in ((_IN, into, self.outside, outward), (_OUT, back, self.inside, inward)):
                way = f'fwd {_FAMILIES[version]} to {there} device "{port.name}"'
                bulk = f"{_plain(version, port.mtu)} {key} @{flows}"
                lines.append(f"add rule {name} {chain} {bulk} counter name {counter} {way}")
                lines.append(f"add rule {name} {chain} {_syn(version, key)}")
            lines.append(f"add rule {name} {_RENEW} {_IS[version]} update @{flows} {{ {into} }}")
        return "\n".join(lines) + "\n"


def _hook(chain: str, hook: str, port: Port) -> list[str]:
    """Return the commands for a chain at a port's hook, emptied: it stays for as long as the box does (`kernel`)."""
    kind = f'type filter hook {hook} device "{port.name}" priority 0; policy accept;'
    return [f"add chain {chain} {{ {kind} }}", f"flush chain {chain}"]


def _anew(kind: str, name: str, content: str) -> list[str]:
    """Return the commands that make a thing that is empty, whether there was one before or not."""
    make = f"add {kind} {name} {content}"
    return [make, f"delete {kind} {name}", make]


def _set(version: int) -> str:
    address = "ipv4_addr" if version == 4 else "ipv6_addr"
    kind = f"type {address} . {address} . inet_service . inet_service"
    return f"{{ {kind}; flags dynamic,timeout; timeout {IDLE_S:.0f}s; size {_MOST_FLOWS}; }}"


def _key(version: int, *, from_inside: bool) -> str:
    """Return the flow of a TCP segment, named by its inner and its outer end."""
    inner, outer = ("s", "d") if from_inside else ("d", "s")
    family = _FAMILIES[version]
    return f"{family} {inner}addr . {family} {outer}addr . tcp {inner}port . tcp {outer}port"


def _plain(version: int, mtu: int) -> str:
    """Return what a packet is that a router only hands on: a long segment in mid-burst, which has ACK alone."""
    if version == 6:  # TCP right behind the header: no fragment, no option
        return f"ip6 nexthdr tcp tcp flags == ack ip6 length {_LONG_BYTES}-{mtu - 40} ip6 hoplimit > 1"
    # the first four bytes at once: no options, no marks of quality (RFC 2474), the length
    head = f"@nh,0,32 {0x45000000 | _LONG_BYTES:#x}-{0x45000000 | mtu:#x}"
    return f"meta protocol ip {head} tcp flags == ack ip frag-off & 0x3fff == 0 ip ttl > 1"


def _syn(version: int, key: str) -> str:
    """Return the rule by which a flow leaves: what comes next is of a new connection."""
    return f"{_IS[version]} tcp flags & (syn | ack) == syn delete @bulk{version} {{ {key} }}"
