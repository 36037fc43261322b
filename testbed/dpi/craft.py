"""Packets of the censor's own, byte by byte, with the injector's fingerprint. Scapy is their oracle in the tests."""

from __future__ import annotations

import ipaddress
import struct

from testbed.dpi.action import RCODES, DnsAnswer
from testbed.dpi.injector import Injector
from testbed.dpi.sight import Sight
from testbed.wire import ip
from testbed.wire.dns import Query

_A, _CNAME, _AAAA, _POINTER_TO_QUESTION = 1, 5, 28, 0xC00C
_UNREACHABLE_CODES = {"net": (0, 0), "host": (1, 3), "port": (3, 4), "prohibited": (13, 1)}
"""Codes of destination unreachable: ICMP (RFC 792, 1812), ICMPv6 (RFC 4443)."""


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


def from_peer(
    sight: Sight, *, seq: int, ack: int, flags: int, window: int, payload: bytes, injector: Injector
) -> bytes:
    """Build a TCP packet that seems to come from the receiver of a packet and goes to its sender."""
    ends = sight.dst, sight.src, sight.dport, sight.sport
    return tcp_packet(*ends, seq, ack, flags, window, payload, injector)


def as_sender(
    sight: Sight, *, seq: int, ack: int, flags: int, window: int, payload: bytes, injector: Injector
) -> bytes:
    """Build a TCP packet that seems to come from the sender of a packet and goes to its receiver."""
    ends = sight.src, sight.dst, sight.sport, sight.dport
    return tcp_packet(*ends, seq, ack, flags, window, payload, injector)


def unreachable(sight: Sight, code: str, *, to_sender: bool, injector: Injector) -> bytes:
    """Build an ICMP destination unreachable that quotes a packet, as its receiver (or its sender) would send it."""
    src, dst = (sight.dst, sight.src) if to_sender else (sight.src, sight.dst)
    four, six = _UNREACHABLE_CODES[code]
    if sight.version == 4:
        quoted = sight.raw[: sight.header_len + 8]
        body = struct.pack("!BBHI", 3, four, 0, 0) + quoted
        total = ip.checksum(body)
        return ip_packet(src, dst, ip.ICMP, body[:2] + struct.pack("!H", total) + body[4:], injector)
    body = struct.pack("!BBHI", 1, six, 0, 0) + sight.raw[:1192]
    total = ip.checksum(ip.pseudo_header(src, dst, ip.ICMPV6, len(body)) + body)
    return ip_packet(src, dst, ip.ICMPV6, body[:2] + struct.pack("!H", total) + body[4:], injector)


def corrupted(sight: Sight, at: int) -> bytes:
    """Return a packet with one byte of its payload flipped and its checksum left, so that the receiver notices."""
    raw = bytearray(sight.raw)
    is_udp = sight.proto == ip.UDP  # whose payload may end before its packet, as every payload may behind it
    begin = sight.header_len + 8 if is_udp else min(sight.total_len, len(raw)) - len(sight.payload)
    raw[begin + at] ^= 0xFF
    return bytes(raw)


def dns_answer(message: bytes, query: Query, answer: DnsAnswer, draw: float) -> bytes | None:
    """Build a forged answer, None where the specification leaves this type of question alone.

    Measured form (facts §1): flags 0x8180, one question, one A record by pointer, nothing else. With `malformed_edns`
    the record is appended behind the whole query, OPT record included, as in 2021. `draw` in [0, 1) picks from a pool.
    """
    records = _records(query, answer, draw)
    if records is None:
        return None
    flags = 0x8180 | (0x0400 if answer.authoritative else 0) | RCODES[answer.rcode]
    question = message[12:] if answer.malformed_edns else message[12 : query.question_end]
    return struct.pack("!HHHHHH", query.id, flags, 1, len(records), 0, 0) + question + b"".join(records)


def _records(query: Query, answer: DnsAnswer, draw: float) -> list[bytes] | None:
    if answer.rcode != "noerror":
        return []
    if answer.cname is not None:
        return [_record(_CNAME, answer.ttl, _name(answer.cname))]
    if query.qtype == _AAAA and answer.aaaa:
        return [_record(_AAAA, answer.ttl, ipaddress.IPv6Address(_drawn(answer.aaaa, draw)).packed)]
    if not answer.a:
        return []
    if query.qtype != _A and answer.other_types != "a":
        return [] if answer.other_types == "empty" else None
    # Only the A form was measured; other types draw the same A record (I, facts §1).
    return [_record(_A, answer.ttl, ipaddress.IPv4Address(_drawn(answer.a, draw)).packed)]


def _drawn(pool: tuple[str, ...], draw: float) -> str:
    return pool[int(draw * len(pool))]


def _record(kind: int, ttl_s: float, data: bytes) -> bytes:
    return struct.pack("!HHHIH", _POINTER_TO_QUESTION, kind, 1, round(ttl_s), len(data)) + data


def _name(text: str) -> bytes:
    labels = [label.encode("ascii", "ignore")[:63] for label in text.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
