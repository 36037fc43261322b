"""Captures: pcap and pcapng read as a stream, pcapng written with a comment on each packet.

Either byte order, micro- or nanoseconds (or any resolution in pcapng), several sections and interfaces; blocks that
hold no packet are skipped. A file is read in chunks of a megabyte and each packet is one slice of its chunk, so memory
stays constant whatever the file's length, and reading alone costs about half a microsecond a packet.
Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; `framing` takes the frames apart.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from testbed.wire.framing import (
    ETHERNET,
    IPV4,
    IPV6,
    LINUX_SLL,
    LINUX_SLL2,
    LOOP,
    NULL,
    RAW,
    strip_link,
)  # fmt: skip

__all__ = [
    "ETHERNET", "IPV4", "IPV6", "LINUX_SLL", "LINUX_SLL2", "LOOP", "NULL", "RAW", "PcapngWriter", "Reader", "Record",
    "read", "strip_link",
]  # fmt: skip

_SECTION, _INTERFACE, _PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_SECTION_BYTES = b"\x0a\x0d\x0d\x0a"
_COMMENT, _TSRESOL, _TSOFFSET = 1, 9, 14
_CHUNK_BYTES = 1 << 20
_LONGEST_BLOCK_BYTES = 1 << 26
#: magic number → seconds a tick, length of a record's head (the third is libpcap as patched by Kuznetzov)
_MAGIC = {0xA1B2C3D4: (1e-6, 16), 0xA1B23C4D: (1e-9, 16), 0xA1B2CD34: (1e-6, 24)}
_new = tuple.__new__


class Record(NamedTuple):
    """One captured packet: frame number (from 1), Unix seconds, link type, its bytes, its length on the wire."""

    frame: int
    timestamp: float
    linktype: int
    data: bytes
    wire_length: int


class _Interface(NamedTuple):
    linktype: int
    tick_s: float
    offset_s: int
    snaplen: int


class Reader:
    """The packets of a capture, in order, once. `ends_early` tells afterwards if the file stops inside a packet."""

    def __init__(self, source: BinaryIO) -> None:
        # read1 gives what a pipe has by now: `tcpdump -w - | testbed replay -` is judged as it comes.
        self._read: Callable[[int], bytes] = getattr(source, "read1", source.read)
        self.ends_early = False

    def __iter__(self) -> Iterator[Record]:
        """Yield the packets; `ValueError` if this is no capture, or a broken one."""
        magic = self._more(b"", 4)
        if magic[:4] == _SECTION_BYTES:
            return self._pcapng(magic)
        for order in "<>":
            found = _MAGIC.get(struct.unpack_from(order + "I", magic)[0]) if len(magic) >= 4 else None
            if found:
                return self._pcap(magic, order, *found)
        raise ValueError("not a pcap or pcapng file" if magic else "an empty file")

    def _more(self, rest: bytes, least: int) -> bytes:
        """Return `rest` with more of the file behind it, `least` bytes or all there is."""
        parts, size = [rest], len(rest)
        while True:
            part = self._read(max(_CHUNK_BYTES, least - size))
            parts.append(part)
            size += len(part)
            if not part or size >= least:
                return b"".join(parts)

    def _pcap(self, buffer: bytes, order: str, tick_s: float, head_size: int) -> Iterator[Record]:
        if len(buffer) < 24 and len(buffer := self._more(buffer, 24)) < 24:
            raise ValueError("a pcap header cut short")
        linktype = struct.unpack_from(order + "I", buffer, 20)[0] & 0xFFFF
        head = struct.Struct(order + "IIII").unpack_from
        offset, size, frame = 24, len(buffer), 0
        while True:
            end = offset + head_size
            if end <= size:
                seconds, ticks, kept, length = head(buffer, offset)
                end += kept
                if end <= size:
                    frame += 1
                    data = buffer[offset + head_size : end]
                    yield _new(Record, (frame, seconds + ticks * tick_s, linktype, data, length))
                    offset = end
                    continue
                if kept > _LONGEST_BLOCK_BYTES:
                    raise ValueError(f"frame {frame + 1} claims {kept} bytes")
            buffer, end = self._more(buffer[offset:], end - offset), end - offset
            offset, size = 0, len(buffer)
            if size < end:
                self.ends_early = size > 0
                return

    def _pcapng(self, buffer: bytes) -> Iterator[Record]:
        order, interfaces, now = "<", list[_Interface](), 0.0
        head, enhanced = struct.Struct("<II").unpack_from, struct.Struct("<IIIII").unpack_from
        offset, size, frame = 0, len(buffer), 0
        while True:
            end = offset + 12
            if end <= size:
                kind, length = head(buffer, offset)
                if kind == _SECTION:
                    order = "<" if buffer[offset + 8 : offset + 12] == b"\x4d\x3c\x2b\x1a" else ">"
                    head = struct.Struct(order + "II").unpack_from
                    enhanced = struct.Struct(order + "IIIII").unpack_from
                    interfaces, length = [], head(buffer, offset)[1]
                if not 12 <= length <= _LONGEST_BLOCK_BYTES:
                    raise ValueError(f"behind frame {frame}: a pcapng block of {length} bytes")
                end = offset + length
                if end <= size:
                    if kind == _ENHANCED and length >= 32:
                        which, high, low, kept, wire = enhanced(buffer, offset + 8)
                        if which >= len(interfaces) or kept > length - 32:
                            _check(frame + 1, which, interfaces, kept, length - 32)
                        linktype, tick_s, offset_s, _ = interfaces[which]
                        frame += 1
                        now = (high << 32 | low) * tick_s + offset_s
                        data = buffer[offset + 28 : offset + 28 + kept]
                        yield _new(Record, (frame, now, linktype, data, wire))
                    elif kind == _INTERFACE:
                        interfaces.append(_interface(buffer[offset + 8 : end - 4], order))
                    elif kind in (_PACKET, _SIMPLE, _ENHANCED):
                        frame += 1
                        record = _older(kind, buffer[offset + 8 : end - 4], order, frame, interfaces, now)
                        now = record.timestamp
                        yield record
                    offset = end
                    continue
            buffer, end = self._more(buffer[offset:], end - offset), end - offset
            offset, size = 0, len(buffer)
            if size < end:
                self.ends_early = size > 0
                return


def read(source: BinaryIO) -> Iterator[Record]:
    """Yield the packets of a capture; `ValueError` if it is none. A file cut off in a packet ends quietly."""
    yield from Reader(source)


def _check(frame: int, which: int, interfaces: list[_Interface], kept: int, room: int) -> None:
    if which >= len(interfaces):
        raise ValueError(f"frame {frame} comes from interface {which}, which the file does not describe")
    if kept > room:
        raise ValueError(f"frame {frame} claims {kept} bytes where its block has {room}")


def _interface(body: bytes, order: str) -> _Interface:
    """Read an Interface Description Block: link type, and how its timestamps count."""
    if len(body) < 8:
        raise ValueError("a pcapng interface description cut short")
    linktype, _, snaplen = struct.unpack_from(order + "HHI", body)
    tick_s, offset_s, at = 1e-6, 0, 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == _TSRESOL and len(value) == 1:
            tick_s = 2.0 ** -(value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** -value[0]
        elif code == _TSOFFSET and len(value) == 8:
            offset_s = struct.unpack(order + "q", value)[0]
        at += 4 + (length + 3) // 4 * 4
    return _Interface(linktype, tick_s, offset_s, snaplen)


def _older(kind: int, body: bytes, order: str, frame: int, interfaces: list[_Interface], now: float) -> Record:
    """Read an obsolete Packet Block, or a Simple one: that has no time, so the one before stands in."""
    which, ticks, start = 0, 0, 4
    if kind == _SIMPLE and len(body) >= 4:
        kept = wire = struct.unpack_from(order + "I", body)[0]
    elif kind == _PACKET and len(body) >= 20:
        which, _, high, low, kept, wire = struct.unpack_from(order + "HHIIII", body)
        ticks, start = high << 32 | low, 20
    else:
        raise ValueError(f"frame {frame}: a pcapng packet block cut short")
    _check(frame, which, interfaces, 0 if kind == _SIMPLE else kept, len(body) - start)
    linktype, tick_s, offset_s, snaplen = interfaces[which]
    if kind == _SIMPLE:
        kept = min(wire, snaplen or wire, len(body) - start)
    else:
        now = ticks * tick_s + offset_s
    return Record(frame, now, linktype, body[start : start + kept], wire)


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
