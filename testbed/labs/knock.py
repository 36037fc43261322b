"""First questions for a name, shown to a censor: does it stop them? Pure but for the TLS library that writes the hello.

What a policy *says* of a name is not what it does: a rule may only watch, look at a port that nobody uses, or act on
a tenth of the packets.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet

from testbed.dpi.decision import Side, Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy

WAYS = ("DNS", "HTTP", "HTTPS")
_CLIENT, _SITE, _RESOLVER = "100.64.1.1", "198.19.0.11", "198.18.0.53"
_PORTS = {"HTTP": 80, "HTTPS": 443}
_KNOCKS = 3


def stops(policy: Policy, name: str, way: str) -> bool:
    """Say whether a censor stops each of a few questions for a name, one of `WAYS`: drops it, or answers it itself."""
    return all(_stopped(policy, name, way, seed) for seed in range(_KNOCKS))


def _stopped(policy: Policy, name: str, way: str, seed: int) -> bool:
    engine = Engine(policy, seed=seed)
    decisions = [
        engine.receive(bytes(packet), side, 0.1 * number)
        for number, (side, packet) in enumerate(_conversation(name, way, 40000 + seed))
    ]
    return any(decision.verdict is Verdict.DROP or decision.injections for decision in decisions)


def _conversation(name: str, way: str, port: int) -> Iterator[tuple[Side, Packet]]:
    if way == "DNS":
        question = DNS(id=port, rd=1, qd=DNSQR(qname=name))
        yield Side.INSIDE, IP(src=_CLIENT, dst=_RESOLVER) / UDP(sport=port, dport=53) / question
        return
    out = {"sport": port, "dport": _PORTS[way]}
    back = {"sport": _PORTS[way], "dport": port}
    said = _hello(name) if way == "HTTPS" else f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    there, here = IP(src=_CLIENT, dst=_SITE), IP(src=_SITE, dst=_CLIENT)
    yield Side.INSIDE, there / TCP(**out, flags="S", seq=100)
    yield Side.OUTSIDE, here / TCP(**back, flags="SA", seq=500, ack=101)
    yield Side.INSIDE, there / TCP(**out, flags="A", seq=101, ack=501)
    yield Side.INSIDE, there / TCP(**out, flags="PA", seq=101, ack=501) / said
    yield Side.OUTSIDE, here / TCP(**back, flags="PA", seq=501, ack=101 + len(said)) / b"answer"


def _hello(name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
