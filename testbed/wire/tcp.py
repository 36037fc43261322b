"""TCP segments (RFC 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from testbed.wire import ip

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
_HEADER = struct.Struct("!HHIIBBHHH")


@dataclass(slots=True)
class Segment:
    """A TCP segment; `data_offset` and `window` in bytes as the header says, unscaled."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    data_offset: int
    options: memoryview
    payload: memoryview


def parse(data: memoryview) -> Segment:
    """Read a segment; `ValueError` if its header is cut short or its data offset points outside."""
    if len(data) < 20:
        raise ValueError("a TCP header cut short")
    sport, dport, seq, ack, offset, flags, window, _, _ = _HEADER.unpack_from(data)
    header = (offset >> 4) * 4
    if header < 20 or header > len(data):
        raise ValueError("a TCP data offset that points outside")
    return Segment(sport, dport, seq, ack, flags, window, header, data[20:header], data[header:])


def checksum_ok(packet: ip.Packet) -> bool:
    """Say whether the TCP checksum of a whole (unfragmented) packet is right."""
    body = bytes(packet.payload)
    return ip.checksum(ip.pseudo_header(packet.src, packet.dst, ip.TCP, len(body)) + body) == 0


def flags_text(flags: int) -> str:
    """Write flags as Geneva and tcpdump do: `PA`, `S`, `R`."""
    return "".join(letter for bit, letter in enumerate("FSRPAU") if flags >> bit & 1)
