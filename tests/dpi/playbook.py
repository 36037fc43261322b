"""A conversation with an engine: `playbook(engine) >> syn() >> client_hello("a.com") << reset(toward=INSIDE)`.

`>>` sends a packet (Scapy builds it, so that the engine's own builder is judged by another hand); `<<` says what the
last packet must have drawn. Time stands still unless `wait` moves it. A mismatch shows the transcript.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from scapy.layers.dns import DNS, DNSQR, DNSRROPT
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet, Raw

from testbed.dpi.decision import Decision, Side, Verdict
from testbed.dpi.engine import Engine

INSIDE, OUTSIDE = Side.INSIDE, Side.OUTSIDE
CLIENT, SERVER = "100.64.1.1", "198.19.3.4"
SPORT, DPORT, ISN, PEER_ISN = 40000, 443, 1000, 9000


@dataclass(frozen=True)
class Send:
    """A packet to send, and who sends it."""

    text: str
    packet: Packet
    side: Side = INSIDE


@dataclass(frozen=True)
class Wait:
    """Let seconds go by."""

    seconds: float


Check = tuple[str, Callable[[Decision], bool]]


@dataclass
class Playbook:
    """The engine, the time and what was said so far."""

    engine: Engine
    now: float = 1_660_000_000.0
    last: Decision = field(default_factory=Decision)
    said: list[str] = field(default_factory=list)

    def __rshift__(self, step: Send | Wait) -> Playbook:
        if isinstance(step, Wait):
            self.now += step.seconds
            self.said.append(f"   wait {step.seconds} s")
        else:
            self.last = self.engine.receive(bytes(step.packet), step.side, self.now)
            self.said.append(f">> {step.text}")
        return self

    def __lshift__(self, check: Check) -> Playbook:
        text, holds = check
        self.said.append(f"<< {text}")
        assert holds(self.last), "\n".join([*self.said, f"   got {self.last}"])
        return self


def playbook(engine: Engine) -> Playbook:
    """Start a conversation."""
    return Playbook(engine)


def wait(seconds: float) -> Wait:
    """Let seconds go by."""
    return Wait(seconds)


def segment(flags: str, seq: int, ack: int = 0, data: bytes = b"", dport: int = DPORT, **fields: int) -> Send:
    """A segment of the client."""
    layers = IP(src=CLIENT, dst=SERVER) / TCP(sport=SPORT, dport=dport, flags=flags, seq=seq, ack=ack, **fields)
    return Send(f"client {flags} {len(data)} B", layers / Raw(data) if data else layers)


def from_server(flags: str, seq: int, ack: int, data: bytes = b"", dport: int = DPORT) -> Send:
    """A segment of the server."""
    layers = IP(src=SERVER, dst=CLIENT) / TCP(sport=dport, dport=SPORT, flags=flags, seq=seq, ack=ack)
    return Send(f"server {flags} {len(data)} B", layers / Raw(data) if data else layers, OUTSIDE)


def syn(dport: int = DPORT) -> Send:
    """The client's SYN."""
    return segment("S", ISN, dport=dport)


def syn_ack(dport: int = DPORT) -> Send:
    """The server's answer."""
    return from_server("SA", PEER_ISN, ISN + 1, dport=dport)


def ack(dport: int = DPORT) -> Send:
    """The client's third packet."""
    return segment("A", ISN + 1, PEER_ISN + 1, dport=dport)


def opened(book: Playbook, dport: int = DPORT, **ends: Any) -> Playbook:
    """Shake hands; `ends` are those of `between`."""
    for step in (syn(dport), syn_ack(dport), ack(dport)):
        book >> between(step, **ends)
    return book


def between(
    step: Send, *, client: str = CLIENT, server: str = SERVER, sport: int | None = None, from_outside: bool = False
) -> Send:
    """The same packet between other hosts, from another port of the client, or in a flow that the outside opened."""
    packet, to_server = step.packet.copy(), step.side is INSIDE
    packet[IP].src, packet[IP].dst = (client, server) if to_server else (server, client)
    for layer in (TCP, UDP):
        if layer in packet and sport is not None:
            setattr(packet[layer], "sport" if to_server else "dport", sport)
    side = step.side.other if from_outside else step.side
    return Send(f"{step.text} [{client} {server} {sport or ''}]", packet, side)


def data(content: bytes, dport: int = DPORT, offset: int = 0) -> Send:
    """The client's PSH+ACK."""
    return segment("PA", ISN + 1 + offset, PEER_ISN + 1, content, dport)


def with_servers(steps: Sequence[Send], count: int) -> Iterator[list[tuple[bytes, Side]]]:
    """Yield the same packets with so many other servers, quickly: bytes are patched, checksums left as they were."""
    plain = [(bytes(step.packet), step.side) for step in steps]
    for number in range(count):
        address = bytes([198, 19, 100 + number // 250, number % 250 + 1])
        yield [
            (raw[:16] + address + raw[20:] if side is INSIDE else raw[:12] + address + raw[16:], side)
            for raw, side in plain
        ]


def hello_bytes(name: str) -> bytes:
    """A ClientHello in one record."""
    host = name.encode()
    sni = struct.pack("!HHHBH", 0, len(host) + 5, len(host) + 3, 0, len(host)) + host
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack("!H", len(sni)) + sni
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


def client_hello(name: str, dport: int = DPORT) -> Send:
    """The client's ClientHello."""
    return data(hello_bytes(name), dport)


def request_bytes(host: str) -> bytes:
    """A plain HTTP request."""
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def request(host: str, dport: int = 80) -> Send:
    """The client's HTTP request."""
    return data(request_bytes(host), dport)


def datagram(content: bytes, dport: int = DPORT, sport: int = SPORT) -> Send:
    """A datagram of the client."""
    packet = IP(src=CLIENT, dst=SERVER) / UDP(sport=sport, dport=dport) / Raw(content)
    return Send(f"client udp {dport} {len(content)} B", packet)


def datagram_back(content: bytes, dport: int = DPORT, sport: int = SPORT) -> Send:
    """A datagram of the server."""
    packet = IP(src=SERVER, dst=CLIENT) / UDP(sport=dport, dport=sport) / Raw(content)
    return Send(f"server udp {dport} {len(content)} B", packet, OUTSIDE)


def query(name: str, qtype: str = "A", edns: bool = False, **header: int) -> Send:
    """A DNS question to UDP port 53 of a host that need not be a resolver."""
    message = DNS(id=7, rd=1, qd=DNSQR(qname=name, qtype=qtype), ar=DNSRROPT() if edns else None)
    for key, value in header.items():
        message.setfieldval(key, value)
    return Send(f"query {name}", IP(src=CLIENT, dst=SERVER) / UDP(sport=5353, dport=53) / message)


def reset(toward: Side = INSIDE, count: int = 1) -> Check:
    """Resets, all toward one side, and the packet itself let through."""

    def holds(decision: Decision) -> bool:
        resets = [item for item in decision.injections if "R" in str(IP(item.raw)[TCP].flags)]
        sides = {item.toward for item in decision.injections}
        return len(resets) == len(decision.injections) == count and sides == {toward} and passes(decision)

    return f"{count} reset toward {toward.value}", holds


def passes(decision: Decision) -> bool:
    """Say whether the packet itself goes on."""
    return decision.verdict is Verdict.PASS


def silence() -> Check:
    """Nothing injected, packet passed."""
    return "silence", lambda decision: passes(decision) and not decision.injections


def dropped() -> Check:
    """The packet is gone, without a word."""
    return "dropped", lambda decision: decision.verdict is Verdict.DROP and not decision.injections


def rule(name: str) -> Check:
    """This rule and no other spoke."""
    return f"by {name}", lambda decision: [note.rule for note in decision.notes] == [name]


def throttled() -> Check:
    """The packet is over a rule's bucket."""
    return "throttled", lambda decision: decision.verdict is Verdict.THROTTLE


def noted(name: str) -> Check:
    """The packet passes, nothing is injected, and the rule says so."""
    text, by = rule(name)
    return f"noted {text}", lambda decision: passes(decision) and not decision.injections and by(decision)


def answer(address: str = "127.0.0.1") -> Check:
    """One forged DNS answer."""

    def holds(decision: Decision) -> bool:
        if len(decision.injections) != 1 or not passes(decision):
            return False
        return str(IP(decision.injections[0].raw)[DNS].an[0].rdata) == address

    return f"forged {address}", holds
