"""Openings for tests: from lines of a conversation, and from captures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from testbed.dpi.fingerprints import Opening, packets_wanted
from testbed.dpi.fingerprints.opening import ICMP, ICMPV6, TCP, UDP
from testbed.wire import ip, pcap, tcp, udp

CAPTURES = Path(__file__).parents[2] / "data" / "captures"


def conversation(proto: int, *lines: tuple[str, bytes], port: int = 4000) -> Opening:
    """Make an opening of (">" from the client or "<" from the server, payload) lines, a tenth of a second apart."""
    opening = Opening(proto, 40000, port, most=packets_wanted())
    for number, (arrow, payload) in enumerate(lines):
        opening.show(arrow == ">", payload, number / 10)
    return opening


def tcp_flow(*lines: tuple[str, bytes], port: int = 4000) -> Opening:
    """Make a TCP opening."""
    return conversation(TCP, *lines, port=port)


def udp_flow(*lines: tuple[str, bytes], port: int = 4000) -> Opening:
    """Make a UDP opening."""
    return conversation(UDP, *lines, port=port)


def of_capture(path: Path) -> Iterator[Opening]:
    """Yield the opening of each flow of a capture, the client being whoever sends first."""
    flows: dict[tuple[int, frozenset[tuple[bytes, int]]], tuple[tuple[bytes, int], Opening]] = {}
    with path.open("rb") as source:
        for record in pcap.read(source):
            packet = ip.parse(record.data[14:])
            source_port, target_port, payload = _transport(packet)
            sender, receiver = (packet.src, source_port), (packet.dst, target_port)
            key = (packet.proto, frozenset((sender, receiver)))
            if key not in flows:
                flows[key] = (sender, Opening(packet.proto, source_port, target_port, most=packets_wanted()))
            client, opening = flows[key]
            opening.show(sender == client, payload, record.timestamp)
    yield from (opening for _, opening in flows.values() if opening.packets)


def _transport(packet: ip.Packet) -> tuple[int, int, bytes]:
    if packet.proto in (ICMP, ICMPV6):
        return 0, 0, bytes(packet.payload)
    transport = tcp.parse(packet.payload) if packet.proto == TCP else udp.parse(packet.payload)
    return transport.sport, transport.dport, bytes(transport.payload)
