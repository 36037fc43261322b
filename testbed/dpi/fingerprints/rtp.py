"""RTP and RTCP (RFC 3550), SRTP too, whose headers lie in clear; no port is special.

A header alone is weak (version 2 is a quarter of all first bytes), so RTP takes four packets of one side with one SSRC
and one payload type, sequence numbers that count up and timestamps that don't run back. RTCP's length field must fit.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from testbed.dpi.fingerprints.counting import in_order
from testbed.dpi.fingerprints.opening import Opening, Shown
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer, Evidence

_HEADER = struct.Struct("!BBHII")
_ENOUGH_PACKETS = 4
_MOST_LOST = 10
_RTCP_TYPES = range(200, 208)
_RTCP_AS_RTP = range(64, 96)
_SR, _RR = 200, 201
_LATEST_TIMESTAMP_STEP = 1 << 24


def rtp(opening: Opening) -> Answer:
    """Recognise a media stream of either side."""
    waiting = False
    for client in (True, False):
        heads = [_head(packet) for packet in opening.of(client)]
        streams: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for head in heads:
            if head is not None:
                ssrc, kind, number, stamp = head
                streams.setdefault((ssrc, kind), []).append((number, stamp))
        for (ssrc, kind), order in streams.items():
            waiting = True
            if len({number for number, _ in order}) >= _ENOUGH_PACKETS and _counts_up(order):
                return {"ssrc": f"{ssrc:08x}", "payload_type": kind, "packets": len(order)}
    return UNDECIDED if waiting else None


def _head(packet: Shown) -> tuple[int, int, int, int] | None:
    """Return SSRC, payload type, sequence number and timestamp; None if it can't be RTP."""
    if len(packet.payload) < _HEADER.size or packet.payload[0] >> 6 != 2:
        return None
    _, kind, number, stamp, ssrc = _HEADER.unpack_from(packet.payload)
    return (ssrc, kind & 0x7F, number, stamp) if ssrc and kind & 0x7F not in _RTCP_AS_RTP else None


def _counts_up(order: list[tuple[int, int]]) -> bool:
    """Say whether numbers count up and times don't run back, once what the network shuffled is in order."""
    first, stamps = order[0][0], dict(order)
    numbers = in_order(stamps, 16)
    times = [stamps[(first + number) & 0xFFFF] for number in numbers]
    return all(b - a <= _MOST_LOST for a, b in pairwise(numbers)) and all(
        (b - a) & 0xFFFFFFFF <= _LATEST_TIMESTAMP_STEP for a, b in pairwise(times)
    )


def rtcp(opening: Opening) -> Answer:
    """Recognise a report whose packets fill the datagram, or SRTCP's, whose first packet is a report in clear."""
    for packet in opening.packets:
        found = _report(packet.payload, packet.length)
        if found is not None:
            return found
    return None


def _report(payload: bytes, length: int) -> Evidence | None:
    if len(payload) < 8 or payload[0] >> 6 != 2 or payload[1] not in (_SR, _RR):
        return None
    kind, size = payload[1], 4 + 4 * int.from_bytes(payload[2:4], "big")
    blocks = payload[0] & 0x1F
    if size != (28 if kind == _SR else 8) + 24 * blocks or size > length:
        return None
    offset = size
    while offset + 4 <= len(payload) and payload[offset] >> 6 == 2 and payload[offset + 1] in _RTCP_TYPES:
        offset += 4 + 4 * int.from_bytes(payload[offset + 2 : offset + 4], "big")
    whole = offset == length
    return {"type": kind, "ssrc": payload[4:8].hex(), "length": length} if whole or length - size >= 14 else None
