"""Traffic without structure: Shadowsocks, VMess, obfs4 (TCP); salamander, mKCP, kcptun, static-key OpenVPN (UDP).

Over TCP this is the Chinese test of the client's first payload, to the letter (`testbed.dpi.encrypted`). Nothing is
published for UDP, so that test is a model of our own: in ten datagrams no bit of the first byte stays, and of the first
sixteen bytes no more are equal than chance makes so (pairs of datagrams with the same byte in the same place). Every
protocol with a header fails it: QUIC by its fixed bit and connection ids, RTP by its version, DTLS likewise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from testbed.dpi import encrypted
from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

_ENOUGH_DATAGRAMS = 10
_HEAD_BYTES = 16
_SHORTEST_BYTES = 24


def fully_encrypted(opening: Opening) -> Answer:
    """Recognise a TCP flow whose first payload by the client has none of the five exemptions."""
    first = opening.first()
    if first is None:
        return UNDECIDED
    if encrypted.exemption(first.payload) is not None:
        return None
    return {
        "length": first.length, "popcount": round(encrypted.mean_popcount(first.payload), 3),
        "entropy": round(encrypted.entropy(first.payload), 3),
    }  # fmt: skip


def random_udp(opening: Opening) -> Answer:
    """Recognise datagrams of which no part stays the same."""
    heads = [payload[:_HEAD_BYTES] for payload in dict.fromkeys(packet.payload for packet in opening.packets)]
    if any(packet.length < _SHORTEST_BYTES for packet in opening.packets) or any(len(h) < _HEAD_BYTES for h in heads):
        return None
    if len(heads) < _ENOUGH_DATAGRAMS:
        return UNDECIDED if len(set(heads)) == len(heads) else None
    joined = b"".join(heads)
    equal, expected = _equal_pairs(heads), math.comb(len(heads), 2) * _HEAD_BYTES / 256
    if _fixed_bits(head[0] for head in heads) or equal > 3 * expected + 6 or not encrypted.looks_random(joined):
        return None
    popcount = round(encrypted.mean_popcount(joined), 3)
    return {"datagrams": len(heads), "equal_bytes": equal, "expected": round(expected, 1), "popcount": popcount}


def _equal_pairs(heads: list[bytes]) -> int:
    """Count the pairs of datagrams that have the same byte in the same place."""
    return sum(math.comb(n, 2) for column in zip(*heads, strict=True) for n in Counter(column).values())


def _fixed_bits(numbers: Iterable[int]) -> int:
    """Return the bits of a byte that are the same in all numbers."""
    ones, zeros = 0xFF, 0xFF
    for number in numbers:
        ones &= number
        zeros &= ~number
    return ones | zeros
