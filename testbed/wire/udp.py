"""UDP datagrams (RFC 768)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("!HHHH")


@dataclass(slots=True)
class Datagram:
    """A UDP datagram; `length` is the header's word, `payload` what is there of it."""

    sport: int
    dport: int
    length: int
    payload: memoryview


def parse(data: memoryview) -> Datagram:
    """Read a datagram; `ValueError` if its header is cut short or its length is impossible."""
    if len(data) < 8:
        raise ValueError("a UDP header cut short")
    sport, dport, length, _ = _HEADER.unpack_from(data)
    if length < 8 or length > len(data):
        raise ValueError("a UDP length that is not its own")
    return Datagram(sport, dport, length, data[8:length])
