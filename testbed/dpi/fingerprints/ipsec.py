"""IPsec: key exchange (IKEv1, RFC 2408; IKEv2, RFC 7296; in TCP, RFC 9329) and ESP in UDP (RFC 3948), on any port.

An IKE header tells its version and its own length, so one message is enough. ESP shows nothing but an SPI that stays
and a sequence number that counts up (RFC 4303), so it takes three packets of one side with random-looking bodies.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from testbed.dpi.encrypted import looks_random
from testbed.dpi.fingerprints.counting import in_order
from testbed.dpi.fingerprints.opening import TCP, Opening, Shown
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer, Evidence

_HEADER = struct.Struct("!8s8sBBBBII")
_STREAM_PREFIX = b"IKETCP"
_MARKER, _NAT_KEEPALIVE = bytes(4), b"\xff"
_V1, _V2 = 0x10, 0x20
_V1_EXCHANGES = frozenset({1, 2, 3, 4, 5, 6, 32, 33})
_V1_MOST_PAYLOAD, _V1_FLAGS = 21, 0x07
_V2_EXCHANGES = frozenset(range(34, 45))
_V2_PAYLOADS = frozenset({0, *range(33, 60)})
_V2_FLAGS = 0x38
_SA, _SA_INIT, _MAIN, _AGGRESSIVE = 33, 34, 2, 4
_SMALLEST_SPI = 256
_SHORTEST_ESP_BYTES = 32
_ENOUGH_ESP_PACKETS = 3
_MOST_AHEAD = 16
_OPENVPN_DATA, _ENOUGH_LIKE_OPENVPN = 9, 6
"""OpenVPN's data packets, whose opcode is the first five bits, count up as ESP's do but aren't whole words for long."""


def ike(opening: Opening) -> Answer:
    """Recognise an IKE message, with or without the non-ESP marker of UDP encapsulation."""
    if opening.proto == TCP:
        return _of_stream(opening.client_bytes)
    for packet in opening.packets:
        payload, marked = packet.payload, packet.payload.startswith(_MARKER)
        found = _header(payload[4:] if marked else payload, packet.length - 4 * marked)
        if found is not None:
            return {**found, "non_esp_marker": marked}
    return None


def _of_stream(stream: bytes) -> Answer:
    """Judge a stream's beginning (RFC 9329 §3): prefix, length that counts itself, non-ESP marker, message."""
    begin = len(_STREAM_PREFIX) + 2
    head, marker, message = stream[:begin], stream[begin : begin + 4], stream[begin + 4 :]
    if not (head.startswith(_STREAM_PREFIX) or _STREAM_PREFIX.startswith(head)) or not _MARKER.startswith(marker):
        return None
    length = int.from_bytes(head[-2:], "big") - 6
    if len(message) < _HEADER.size:
        return UNDECIDED
    found = _header(message, length)
    return None if found is None else {**found, "non_esp_marker": True}


def _header(message: bytes, length: int) -> Evidence | None:
    if len(message) < _HEADER.size:
        return None
    initiator, responder, following, version, exchange, flags, number, told = _HEADER.unpack_from(message)
    if told != length or not any(initiator):
        return None
    if version & 0xF0 == _V1:
        right = exchange in _V1_EXCHANGES and following <= _V1_MOST_PAYLOAD and not flags & ~_V1_FLAGS
        fresh = exchange not in (_MAIN, _AGGRESSIVE) or number == 0
    elif version & 0xF0 == _V2:
        right = exchange in _V2_EXCHANGES and following in _V2_PAYLOADS and not flags & ~_V2_FLAGS
        fresh = exchange != _SA_INIT or number == 0
    else:
        return None
    if not right or not fresh or (not any(responder) and number):
        return None
    return {"version": version >> 4, "exchange": exchange, "length": length}


def esp_in_udp(opening: Opening) -> Answer:
    """Recognise ESP in UDP by three packets of one side: one SPI, rising numbers, bodies that look random."""
    waiting = False
    for client in (True, False):
        packets = [packet for packet in opening.of(client) if not _goes_beside_esp(packet)]
        if not packets or not all(map(_may_be_esp, packets)):
            continue
        waiting = True
        heads = [struct.unpack_from("!II", packet.payload) for packet in packets]
        like_openvpn = heads[0][0] >> 27 == _OPENVPN_DATA
        if len(set(heads)) < (_ENOUGH_LIKE_OPENVPN if like_openvpn else _ENOUGH_ESP_PACKETS):
            continue
        numbers = [number for _, number in heads]
        steady = all(b - a <= _MOST_AHEAD for a, b in pairwise(in_order(numbers, 32)))
        random = looks_random(b"".join(packet.payload[8:] for packet in packets))
        if len({spi for spi, _ in heads}) == 1 and steady and random:
            return {"spi": f"{heads[0][0]:08x}", "first": numbers[0], "packets": len(packets)}
        return None
    return UNDECIDED if waiting else None


def _goes_beside_esp(packet: Shown) -> bool:
    """Say whether a packet is a NAT keepalive or IKE behind its marker, which share the port (RFC 3948 §2)."""
    return packet.payload == _NAT_KEEPALIVE or packet.payload.startswith(_MARKER)


def _may_be_esp(packet: Shown) -> bool:
    """Say whether a packet has a proper SPI and number and the length of whole four-byte words."""
    if packet.length < _SHORTEST_ESP_BYTES or packet.length % 4 or len(packet.payload) < 8:
        return False
    spi, number = struct.unpack_from("!II", packet.payload)
    return bool(spi >= _SMALLEST_SPI and 0 < number < 1 << 24)
