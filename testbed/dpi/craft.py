"""Packets of the censor's own, byte by byte, with the injector's fingerprint. Scapy is their oracle in the tests."""

from __future__ import annotations

import ipaddress
import struct

from testbed.dpi.policy import DnsAnswer, Injector
from testbed.wire import ip
from testbed.wire.dns import Query
from testbed.wire.tcp import Segment

_A, _AAAA, _POINTER_TO_QUESTION = 1, 28, 0xC00C


def ip_packet(src: bytes, dst: bytes, proto: int, body: bytes, injector: Injector) -> bytes:
    """Put an IP header before a body whose checksum is already right."""
    if len(src) == 16:
        return struct.pack("!IHBB", 6 << 28 | injector.tos << 20, len(body), proto, injector.ttl) + src + dst + body
    flags = 0x4000 if injector.df else 0
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, injector.tos, 20 + len(body), injector.ip_id, flags, injector.ttl, proto, 0, src, dst
    )
    return head[:10] + struct.pack("!H", ip.checksum(head)) + head[12:] + body


def tcp_packet(
    src: bytes, dst: bytes, sport: int, dport: int, seq: int, ack: int, flags: int, window: int, payload: bytes,
    injector: Injector,
) -> bytes:  # fmt: skip
    """Build a whole TCP packet without options."""
    head = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 << 4, flags, window, 0, 0)
    total = ip.checksum(ip.pseudo_header(src, dst, ip.TCP, len(head) + len(payload)) + head + payload)
    return ip_packet(src, dst, ip.TCP, head[:16] + struct.pack("!H", total) + head[18:] + payload, injector)


def udp_packet(src: bytes, dst: bytes, sport: int, dport: int, payload: bytes, injector: Injector) -> bytes:
    """Build a whole UDP packet."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    total = ip.checksum(ip.pseudo_header(src, dst, ip.UDP, 8 + len(payload)) + head + payload) or 0xFFFF
    return ip_packet(src, dst, ip.UDP, head[:6] + struct.pack("!H", total) + payload, injector)


def answer_to_sender(
    packet: ip.Packet, segment: Segment, *, seq: int, ack: int, flags: int, window: int, payload: bytes,
    injector: Injector,
) -> bytes:  # fmt: skip
    """Build a TCP packet that seems to come from the other end of the offending packet's flow."""
    return tcp_packet(packet.dst, packet.src, segment.dport, segment.sport, seq, ack, flags, window, payload, injector)


def dns_answer(message: bytes, query: Query, answer: DnsAnswer) -> bytes:
    """Build the forged answer: flags 0x8180, one question, one A record by pointer, nothing else (facts §1).

    With `malformed_edns` the record is appended behind the whole query, OPT record included, as in 2021.
    """
    # Only the A form was measured; other types draw the same A record (I, facts §1).
    record = (
        struct.pack("!HHHIH", _POINTER_TO_QUESTION, _A, 1, round(answer.ttl), 4)
        + ipaddress.IPv4Address(answer.a).packed
    )
    question = message[12:] if answer.malformed_edns else message[12 : query.question_end]
    return struct.pack("!HHHHHH", query.id, 0x8180, 1, 1, 0, 0) + question + record
