"""Traffic without structure: Shadowsocks, VMess, obfs4 (TCP); salamander, mKCP, kcptun, static-key OpenVPN (UDP).

Over TCP this is the Chinese test of the client's first payload, to the letter (`testbed.dpi.encrypted`). Nothing is
published for UDP, so that test is a model of our own: in ten datagrams no bit of the first byte stays, and nearly none
of the first sixteen bytes. Every protocol with a header fails it: QUIC and RTP by two fixed bits, DTLS by its version.
"""

from __future__ import annotations

from testbed.dpi import encrypted
from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

_ENOUGH_DATAGRAMS = 10
_HEAD_BYTES = 16
_SHORTEST_BYTES = 24
_MOST_FIXED_BITS = 3


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
    heads: list[int] = []
    for packet in opening.packets:
        if packet.length < _SHORTEST_BYTES or len(packet.payload) < _HEAD_BYTES:
            return None
        heads.append(int.from_bytes(packet.payload[:_HEAD_BYTES], "big"))
    every = (1 << 8 * _HEAD_BYTES) - 1
    ones, zeros = every, every
    for head in heads:
        ones &= head
        zeros &= ~head
    fixed = ones | zeros
    if len(heads) < _ENOUGH_DATAGRAMS:
        return UNDECIDED if len(set(heads)) == len(heads) else None
    joined = b"".join(packet.payload[:_HEAD_BYTES] for packet in opening.packets)
    if fixed >> 8 * (_HEAD_BYTES - 1) or fixed.bit_count() > _MOST_FIXED_BITS or not encrypted.looks_random(joined):
        return None
    popcount = round(encrypted.mean_popcount(joined), 3)
    return {"datagrams": len(heads), "fixed_bits": fixed.bit_count(), "popcount": popcount}
