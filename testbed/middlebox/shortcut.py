"""The short cut for the bulk of passed TCP flows: from one port of the box to the other, before the IP stack sees it.

    port it comes by (ingress)             forward (`kernel`)                  loopback (egress)
    in `bulk`, ACK alone: out by the other port
    SYN: its flow leaves `bulk` ─────────▶ passed, no lease: a marked copy ──▶ marked: its flow joins `bulk`; dropped
    everything else ─────────────────────▶ as `kernel` says

Only what a router does nothing special to goes this way: a whole IP packet without options that fits the way out and
lives longer than one more hop. The flow is leased for `LEASE_S`; then a packet is forwarded as ever, which keeps the
flow in `kernel`'s set of passed ones and renews the lease. So a flow is in `bulk` no longer than it is there.

Sets belong to one family of tables, and this is another than `kernel`'s: what is known there is told here by a copy of
the packet. A hook at the port of exit could read a mark instead, but then every packet of the bulk would meet it, too.

A packet's way out must be known without a look at the routes: from a port with a single neighbour.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_SIOCGIFMTU = 0x8921
LEASE_S = 5
"""How long a flow stays in `bulk`, and its packets may go by unseen by `kernel`, before one is forwarded as ever."""
_FAMILIES = {4: "ip", 6: "ip6"}
_IS = {4: "meta protocol ip", 6: "meta protocol ip6"}
_MOST_FLOWS = 1_000_000
_IN, _OUT, _JOIN = "bulk_in", "bulk_out", "join"
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


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

    def leads(self, version: int) -> bool:
        """Tell whether packets of that version of IP have a known way out at both ports."""
        return None not in (self.inside.neighbour(version), self.outside.neighbour(version))

    def ruleset(self, table: str, counter: str, mark: int, *, ipv6: bool) -> str:
        """Return the commands that make the rules, or make them anew with no flow in them, as `nft -f` reads them.

        `table`: of the family netdev; `counter`: of passed packets; `mark`: of the copies that `lease` makes.
        """
        name = f"netdev {table}"
        lines = [
            f"add table {name}",
            *_hook(f"{name} {_IN}", "ingress", self.inside.name),
            *_hook(f"{name} {_OUT}", "ingress", self.outside.name),
            *_hook(f"{name} {_JOIN}", "egress", "lo"),
            *_anew("counter", f"{name} {counter}", "{ }"),
            f"add rule {name} {_JOIN} meta mark != {mark:#x} accept",
        ]
        for version in (4, 6) if ipv6 else (4,):
            if not self.leads(version):
                continue
            flows = f"bulk{version}"
            into, back = _key(version, from_inside=True), _key(version, from_inside=False)
            lines += _anew("set", f"{name} {flows}", _set(version))
            for chain, key, here, there in (
                (_IN, into, self.inside, self.outside),
                (_OUT, back, self.outside, self.inside),
            ):
                way = f'fwd {_FAMILIES[version]} to {there.neighbour(version)} device "{there.name}"'
                bulk = f"{_plain(version, there.mtu if there.mtu < here.mtu else None)} {key} @{flows}"
                lines.append(f"add rule {name} {chain} {bulk} counter name {counter} {way}")
                lines.append(f"add rule {name} {chain} {_syn(version, key)}")
            lines.append(f"add rule {name} {_JOIN} {_IS[version]} update @{flows} {{ {into} }} drop")
        return "\n".join(lines) + "\n"


def lease(version: int, mark: int) -> str:
    """Return what tells the short cut of a packet's flow, which must come from the inside: a statement of `kernel`."""
    return f'meta mark set {mark:#x} dup to {_LOOPBACK[version]} device "lo"'


def _hook(chain: str, hook: str, port: str) -> list[str]:
    """Return the commands for a chain at a port's hook, emptied: it stays for as long as the box does (`kernel`)."""
    kind = f'type filter hook {hook} device "{port}" priority 0; policy accept;'
    return [f"add chain {chain} {{ {kind} }}", f"flush chain {chain}"]


def _anew(kind: str, name: str, content: str) -> list[str]:
    """Return the commands that make a thing that is empty, whether there was one before or not."""
    make = f"add {kind} {name} {content}"
    return [make, f"delete {kind} {name}", make]


def _set(version: int) -> str:
    address = "ipv4_addr" if version == 4 else "ipv6_addr"
    kind = f"type {address} . {address} . inet_service . inet_service"
    return f"{{ {kind}; flags dynamic,timeout; timeout {LEASE_S}s; size {_MOST_FLOWS}; }}"


def _key(version: int, *, from_inside: bool) -> str:
    """Return the flow of a TCP segment, named by its inner and its outer end."""
    inner, outer = ("s", "d") if from_inside else ("d", "s")
    family = _FAMILIES[version]
    return f"{family} {inner}addr . {family} {outer}addr . tcp {inner}port . tcp {outer}port"


def _plain(version: int, most: int | None) -> str:
    """Return what a packet is that a router only hands on: a segment in mid-burst or an acknowledgement.

    `most`: the bytes that fit the way out, if it takes less than the way in.
    """
    if version == 6:  # TCP right behind the header: no fragment, no option
        fits = f"ip6 length 0-{most - 40} " if most else ""
        return f"ip6 nexthdr tcp tcp flags == ack {fits}ip6 hoplimit > 1"
    # the first bytes at once: no options, no marks of quality (RFC 2474), the length
    head = f"@nh,0,32 {0x45000000:#x}-{0x45000000 | most:#x}" if most else "@nh,0,16 0x4500"
    return f"meta protocol ip {head} tcp flags == ack ip frag-off & 0x3fff == 0 ip ttl > 1"


def _syn(version: int, key: str) -> str:
    """Return the rule by which a flow leaves: what comes next is of a new connection."""
    return f"{_IS[version]} tcp flags & (syn | ack) == syn delete @bulk{version} {{ {key} }}"
