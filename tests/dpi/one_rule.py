"""Engines with a single rule, and a few packets to give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from testbed.dpi.decision import Decision, Side
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy
from tests.dpi.playbook import CLIENT, INSIDE, OUTSIDE, SERVER, Send

EVIDENCE = {"mark": "G", "source": "test"}
ANY_TLS = {"sni": {"patterns": ["*a.com*"]}}


def one_rule(
    match: Mapping[str, Any], action: Mapping[str, Any], *, seed: int = 1, policy: Mapping[str, Any] | None = None,
    **rule: Any,
) -> Engine:  # fmt: skip
    """Make an in-path censor with one rule, named `r`."""
    whole = {"name": "r", "match": match, "action": action, "evidence": EVIDENCE, **rule}
    given = {"policy": "p", "title": "t", "placement": "in-path", "rules": [whole], **(policy or {})}
    return Engine(Policy.model_validate(given), seed=seed)


def udp(content: bytes, dport: int = 40001, sport: int = 5000, *, back: bool = False) -> Send:
    """A datagram of the client, or of the server `back`."""
    if back:
        return Send("udp back", IP(src=SERVER, dst=CLIENT) / UDP(sport=dport, dport=sport) / Raw(content), OUTSIDE)
    return Send("udp", IP(src=CLIENT, dst=SERVER) / UDP(sport=sport, dport=dport) / Raw(content), INSIDE)


def ping(content: bytes = b"x" * 56) -> Send:
    """An echo request of the client."""
    return Send("ping", IP(src=CLIENT, dst=SERVER) / ICMP() / Raw(content), INSIDE)


def injected(decision: Decision) -> list[Packet]:
    """Return the injected packets as Scapy reads them, after holding that their checksums are right."""
    found: list[Packet] = []
    for item in decision.injections:
        packet = (IP if item.raw[0] >> 4 == 4 else IPv6)(item.raw)
        again = packet.copy()
        for layer in (IP, TCP, UDP, ICMP):
            if layer in again:
                again[layer].chksum = None
        if IP in again:
            again[IP].len = None
        assert bytes(again) == item.raw, packet.show(dump=True)
        found.append(packet)
    return found


def sides(decision: Decision) -> list[Side]:
    """Return where the injected packets go."""
    return [item.toward for item in decision.injections]
