"""UDP datagrams (RFC 768)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from testbed.wire import ip

_header = struct.Struct("!HHH").unpack_from
_new = tuple.__new__


class Datagram(NamedTuple):
    """A UDP datagram; `length` is the header's word, `payload` what is there of it."""

    sport: int
    dport: int
    length: int
    payload: memoryview


def parse(data: memoryview, *, cut: bool = False) -> Datagram:
    """Read a datagram; `ValueError` if its header is cut short or its length is impossible.

    With `cut`, its payload may end early.
    """
    size = len(data)
    if size < 8:
        raise ValueError("a UDP header cut short")
    sport, dport, length = _header(data)
    if length < 8 or (length > size and not cut):
        raise ValueError("a UDP length that is not its own")
    return _new(Datagram, (sport, dport, length, data[8:length]))


def checksum_ok(packet: ip.Packet) -> bool:
    """Say whether a whole packet's UDP checksum is right; none at all (zero) is right in IPv4 only (RFC 8200 §8.1)."""
    body = packet.payload
    if body[6] == body[7] == 0:
        return packet.version == 4
    length = body[4] << 8 | body[5]
    data = bytes(body[:length])
    return ip.checksum(ip.pseudo_header(packet.src, packet.dst, ip.UDP, length) + data) == 0
