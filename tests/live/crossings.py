"""Packets that meet address and port rules, or just miss them: one table for kernel and engine alike."""

from __future__ import annotations

from dataclasses import dataclass

from scapy.all import ICMP, IP, TCP, UDP, ICMPv6EchoRequest, IPv6, Raw, fragment

from testbed.dpi.decision import Side

POLICY = """policy: crossings
title: address and port rules, of every shape
placement: in-path
rules:
  - {name: udp-ports, match: {protocol: udp, ports: [3478, 5000-5010]}, action: {drop: packet},
     evidence: {mark: U, source: test}}
  - {name: web-there, match: {protocol: tcp, addresses: ["198.18.1.0/24", "2001:db8:19:1::/64"], ports: [80]},
     action: {drop: packet}, evidence: {mark: U, source: test}}
  - {name: listed, match: {addresses: ["198.18.2.0/24", "198.18.2.128/25", "198.18.4.7", "2001:db8:19:2::/64"]},
     action: {drop: packet}, evidence: {mark: U, source: test}}
  - {name: ping-there, match: {protocol: icmp, addresses: ["198.18.3.0/24", "2001:db8:19:3::/64"]},
     action: {drop: packet}, evidence: {mark: U, source: test}}
  - {name: any-transport, match: {ports: [7000]}, action: {drop: packet}, evidence: {mark: U, source: test}}
"""
_HERE = {4: "100.64.0.2", 6: "2001:db8:64::2"}


@dataclass(frozen=True, slots=True)
class Crossing:
    """One packet from one side; `token` stands in it and nowhere else."""

    about: str
    raw: bytes
    side: Side
    token: bytes


def _there(version: int, block: int, last: int = 9) -> str:
    return f"198.18.{block}.{last}" if version == 4 else f"2001:db8:19:{block}::{last}"


def _packet(
    version: int, kind: str, block: int, ports: tuple[int, int], *, out: bool, last: int = 9, flags: str = "S"
) -> object:
    """Return a packet between the client and an outer address; `ports`: the client's and the server's."""
    layer = IP if version == 4 else IPv6
    ends = (_HERE[version], _there(version, block, last))
    source, target = ends if out else ends[::-1]
    sport, dport = ports if out else ports[::-1]
    if kind == "icmp":
        return layer(src=source, dst=target) / (ICMP(id=ports[0]) if version == 4 else ICMPv6EchoRequest(id=ports[0]))
    transport = TCP(sport=sport, dport=dport, flags=flags) if kind == "tcp" else UDP(sport=sport, dport=dport)
    return layer(src=source, dst=target) / transport


def _table() -> list[Crossing]:
    found: list[Crossing] = []

    def add(about: str, packet: object, *, out: bool, pieces: int = 1) -> None:
        token = b"<crossing %03d>" % len(found)
        side = Side.INSIDE if out else Side.OUTSIDE
        if pieces == 1:
            found.append(Crossing(about, bytes(packet / Raw(token)), side, token))
            return
        content = b"".join(b"<%s %03d>" % (token, number) for number in range(50))
        for index, piece in enumerate(fragment(packet / Raw(content), 400)):
            raw = bytes(piece)
            inner = raw[raw.index(b"><", 20) + 1 :]
            found.append(Crossing(f"{about}, piece {index}", raw, side, inner[: inner.index(b">") + 6]))

    for version in (4, 6):
        for out in (True, False):
            way = f"v{version} {'out' if out else 'in'}"
            port = 20000 + version * 100 + out
            for server in (3477, 3478, 3479, 4999, 5000, 5010, 5011, 7000, 80):
                for kind in ("udp", "tcp"):
                    add(f"{way} {kind} to {server}", _packet(version, kind, 9, (port, server), out=out), out=out)
            for block in (1, 2, 3, 5):
                for kind, server in (("tcp", 80), ("tcp", 443), ("udp", 53), ("udp", 80), ("icmp", 0)):
                    packet = _packet(version, kind, block, (port + 10, server), out=out)
                    add(f"{way} {kind} {server} block {block}", packet, out=out)
        for last in (7, 8):
            add(
                f"v{version} one address .{last}",
                _packet(version, "udp", 4, (20900, 53), out=True, last=last),
                out=True,
            )
        # conversations: what counts is the port of the host that was contacted, not which way a packet goes
        for client, server in ((3478, 6000), (6001, 3478), (5005, 3478), (5005, 5500)):
            for out in (True, False, True, False):
                packet = _packet(version, "udp", 6, (client, server), out=out)
                add(f"v{version} udp {client}-{server} {'out' if out else 'back'}", packet, out=out)
            for out in (False, True, False):
                packet = _packet(version, "udp", 7, (server, client), out=out)
                add(f"v{version} udp {client}-{server} from outside", packet, out=out)
        for flags, out in (("S", True), ("SA", False), ("A", True), ("A", False)):
            packet = _packet(version, "tcp", 8, (80, 7001), out=out, flags=flags)
            add(f"v{version} tcp from port 80, {flags}", packet, out=out)
    add("v4 udp 3478 in pieces", _packet(4, "udp", 9, (20950, 3478), out=True), out=True, pieces=3)
    add("v4 udp to a listed address in pieces", _packet(4, "udp", 2, (20951, 53), out=True), out=True, pieces=3)
    return found


CROSSINGS = tuple(_table())
