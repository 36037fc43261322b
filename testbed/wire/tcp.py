"""TCP segments (RFC 9293) and their options (RFC 7323, 2018, 2385)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from testbed.wire import ip

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS, MD5, FAST_OPEN = 2, 3, 4, 5, 8, 19, 34
_header = struct.Struct("!HHIIBBH").unpack_from
_new = tuple.__new__


class Segment(NamedTuple):
    """A TCP segment; `data_offset` and `window` in bytes as the header says, unscaled."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    data_offset: int
    payload: memoryview
    raw: memoryview

    @property
    def options(self) -> memoryview:
        """The options' bytes, padding included."""
        return self.raw[20 : self.data_offset]

    @property
    def urgent_pointer(self) -> int:
        """Where urgent data ends, counted from `seq`; means nothing without `URG`."""
        return self.raw[18] << 8 | self.raw[19]


@dataclass(frozen=True, slots=True)
class Options:
    """What a segment's options say, None (or empty) for what they don't; `kinds` lists all, in order."""

    kinds: tuple[int, ...] = ()
    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    """Blocks received, left and right edge."""
    timestamps: tuple[int, int] | None = None
    """The sender's value and the echoed one."""
    md5: bytes | None = None


def parse(data: memoryview) -> Segment:
    """Read a segment; `ValueError` if its header is cut short or its data offset points outside."""
    size = len(data)
    if size < 20:
        raise ValueError("a TCP header cut short")
    sport, dport, seq, ack, offset, flags, window = _header(data)
    header = (offset >> 4) * 4
    if header < 20 or header > size:
        raise ValueError("a TCP data offset that points outside")
    return _new(Segment, (sport, dport, seq, ack, flags, window, header, data[header:], data))


def parse_options(options: bytes | memoryview) -> Options:
    """Read options; one of a length that its kind can't have is listed in `kinds` and otherwise ignored."""
    found = list(ip.walk_options(bytes(options)))
    values = dict(reversed(found))
    edges = values.get(SACK, b"")
    if len(edges) % 8:
        edges = b""
    numbers = struct.unpack(f"!{len(edges) // 4}I", edges)
    stamps = values.get(TIMESTAMPS, b"")
    return Options(
        tuple(kind for kind, _ in found),
        _number(values.get(MSS), 2),
        _number(values.get(WINDOW_SCALE), 1),
        values.get(SACK_PERMITTED) == b"",
        tuple(zip(numbers[::2], numbers[1::2], strict=True)),
        struct.unpack("!II", stamps) if len(stamps) == 8 else None,
        signature if len(signature := values.get(MD5, b"")) == 16 else None,
    )


def option_kinds(options: bytes | memoryview) -> tuple[int, ...]:
    """Return the kinds of the options, in order, padding left out."""
    return tuple(kind for kind, _ in ip.walk_options(bytes(options)))


def _number(value: bytes | None, size: int) -> int | None:
    return int.from_bytes(value, "big") if value is not None and len(value) == size else None


def checksum_ok(packet: ip.Packet) -> bool:
    """Say whether the TCP checksum of a whole (unfragmented) packet is right."""
    body = bytes(packet.payload)
    return ip.checksum(ip.pseudo_header(packet.src, packet.dst, ip.TCP, len(body)) + body) == 0


def flags_text(flags: int) -> str:
    """Write flags as Geneva and tcpdump do: `PA`, `S`, `R`."""
    return "".join(letter for bit, letter in enumerate("FSRPAUEC") if flags >> bit & 1)
