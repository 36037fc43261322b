"""Captures: pcap and pcapng read as a stream, pcapng written with a comment on each packet.

Reads Ethernet, raw IP, BSD loopback and Linux cooked (v1, v2) captures, either byte order, micro- or nanoseconds.
Memory stays constant whatever the file's length. Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

ETHERNET, NULL, RAW, LINUX_SLL, LOOP, IPV4, IPV6, LINUX_SLL2 = 1, 0, 101, 113, 108, 228, 229, 276
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_LONGEST_BLOCK_BYTES = 1 << 26
_COMMENT, _TSRESOL = 1, 9


@dataclass(frozen=True, slots=True)
class Record:
    """One captured packet: frame number (from 1), Unix seconds, link type, its bytes, its length on the wire."""

    frame: int
    timestamp: float
    linktype: int
    data: bytes
    wire_length: int


def read(source: BinaryIO) -> Iterator[Record]:
    """Yield the packets of a capture; `ValueError` if it is none. A file cut off in a packet ends quietly."""
    magic = source.read(4)
    if magic == b"\x0a\x0d\x0d\x0a":
        yield from _read_pcapng(source)
        return
    for order in "<>":
        if len(magic) == 4 and (found := struct.unpack(order + "I", magic)[0]) in (0xA1B2C3D4, 0xA1B23C4D):
            yield from _read_pcap(source, order, 1e-9 if found == 0xA1B23C4D else 1e-6)
            return
    raise ValueError("not a pcap or pcapng file")


def _read_pcap(source: BinaryIO, order: str, tick_s: float) -> Iterator[Record]:
    header = source.read(20)
    if len(header) < 20:
        raise ValueError("a pcap header cut short")
    linktype = struct.unpack_from(order + "I", header, 16)[0] & 0xFFFF
    frame = 0
    while len(head := source.read(16)) == 16:
        seconds, ticks, kept, length = struct.unpack(order + "IIII", head)
        if kept > _LONGEST_BLOCK_BYTES:
            raise ValueError(f"frame {frame + 1} claims {kept} bytes")
        data = source.read(kept)
        if len(data) < kept:
            return
        frame += 1
        yield Record(frame, seconds + ticks * tick_s, linktype, data, length)


def _read_pcapng(source: BinaryIO) -> Iterator[Record]:
    order = "<"
    interfaces: list[tuple[int, float]] = []
    frame = 0
    kind_bytes = b"\x0a\x0d\x0d\x0a"
    while len(kind_bytes) == 4:
        length_bytes = source.read(4)
        if len(length_bytes) < 4:
            return
        if kind_bytes == b"\x0a\x0d\x0d\x0a":
            order = "<" if (mark := source.read(4)) == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
            kind, consumed = _SECTION, 12
            if len(mark) < 4:
                return
        else:
            kind, consumed = struct.unpack(order + "I", kind_bytes)[0], 8
        length = struct.unpack(order + "I", length_bytes)[0]
        if not consumed + 4 <= length <= _LONGEST_BLOCK_BYTES:
            raise ValueError(f"a pcapng block of {length} bytes")
        body = source.read(length - consumed)
        if len(body) < length - consumed:
            return
        if kind == _INTERFACE:
            interfaces.append((struct.unpack_from(order + "H", body)[0], _tick(body[8:-4], order)))
        elif kind == _ENHANCED and len(body) >= 24:
            which, high, low, kept, wire = struct.unpack_from(order + "IIIII", body)
            if which >= len(interfaces):
                raise ValueError("a pcapng packet of an undescribed interface")
            linktype, tick_s = interfaces[which]
            frame += 1
            yield Record(frame, (high << 32 | low) * tick_s, linktype, body[20 : 20 + kept], wire)
        elif kind == _SIMPLE and interfaces:
            wire = struct.unpack_from(order + "I", body)[0]
            frame += 1
            yield Record(frame, 0.0, interfaces[0][0], body[4 : 4 + min(wire, len(body) - 8)], wire)
        kind_bytes = source.read(4)


def _tick(options: bytes, order: str) -> float:
    offset = 0
    while offset + 4 <= len(options):
        code, length = struct.unpack_from(order + "HH", options, offset)
        if code == _TSRESOL and length == 1:
            value: int = options[offset + 4]
            return float(2.0 ** -(value & 0x7F)) if value & 0x80 else float(10.0**-value)
        offset += 4 + (length + 3) // 4 * 4
    return 1e-6


def strip_link(linktype: int, data: bytes) -> memoryview | None:
    """Return the IP packet inside a captured frame, None if it carries none."""
    view = memoryview(data)
    if linktype in (RAW, 12, 14, IPV4, IPV6):
        return view if view else None
    if linktype in (NULL, LOOP):
        return view[4:] if len(view) > 4 else None
    if linktype == ETHERNET:
        offset = 12
        while len(view) >= offset + 4 and bytes(view[offset : offset + 2]) in (b"\x81\x00", b"\x88\xa8"):
            offset += 4
        kind, start = bytes(view[offset : offset + 2]), offset + 2
    elif linktype == LINUX_SLL:
        kind, start = bytes(view[14:16]), 16
    elif linktype == LINUX_SLL2:
        kind, start = bytes(view[:2]), 20
    else:
        return None
    return view[start:] if kind in (b"\x08\x00", b"\x86\xdd") and len(view) > start else None


class PcapngWriter:
    """Writes one section with one interface, timestamps in microseconds, flushed after each packet."""

    def __init__(self, target: BinaryIO, linktype: int = RAW) -> None:
        self._target = target
        self._block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        self._block(_INTERFACE, struct.pack("<HHI", linktype, 0, 0))

    def write(self, timestamp: float, data: bytes | memoryview, comment: str | None = None) -> None:
        """Append a packet; `timestamp` in Unix seconds."""
        ticks = round(timestamp * 1e6)
        body = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)) + _padded(bytes(data))
        if comment:
            text = comment.encode()[:65000]
            body += struct.pack("<HH", _COMMENT, len(text)) + _padded(text) + struct.pack("<HH", 0, 0)
        self._block(_ENHANCED, body)

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("<I", len(body) + 12)
        self._target.write(struct.pack("<I", kind) + length + body + length)
        self._target.flush()


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
