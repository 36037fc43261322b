"""IPv4 (RFC 791) and IPv6 (RFC 8200) headers, with options, extension headers and fragment fields.

Every packet of every run passes here, so a `Packet` is a tuple (made in one step, read by index) that holds what each
packet is asked for; options, extension headers and the fragment's bits are read when somebody asks. Jumbograms (RFC
2675) are not known: their length of zero reads as a broken packet, as on hosts without them.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION))
DF, MF = 0x4000, 0x2000
_MOST_EXTENSIONS = 256
_v4 = struct.Struct("!BBHHHBB2x4s4s").unpack_from
_v6 = struct.Struct("!IHBB16s16s").unpack_from
_new = tuple.__new__


class Packet(NamedTuple):
    """An IP packet. Lengths in bytes; `proto` is that of `payload`, behind the extension headers it has.

    `bits` is the word that IPv4 keeps flags and offset in (`DF`, `MF`, offset / 8); IPv6 is written the same way.
    A packet that a capture cut short has a `total_len` larger than its `raw`.
    """

    version: int
    src: bytes
    dst: bytes
    proto: int
    ttl: int
    ident: int
    bits: int
    header_len: int
    total_len: int
    tos: int
    payload: memoryview
    raw: memoryview

    @property
    def df(self) -> bool:
        """Say whether routers may not cut this packet."""
        return bool(self.bits & DF)

    @property
    def mf(self) -> bool:
        """Say whether more fragments follow."""
        return bool(self.bits & MF)

    @property
    def frag_offset(self) -> int:
        """Where in the whole packet's payload this fragment begins, in bytes."""
        return (self.bits & 0x1FFF) * 8

    @property
    def is_fragment(self) -> bool:
        """Say whether this is one piece of a larger packet."""
        return self.bits & 0x3FFF != 0

    @property
    def is_cut(self) -> bool:
        """Say whether the end of the packet is missing."""
        return self.total_len > len(self.raw)

    @property
    def flow_label(self) -> int:
        """The flow label of IPv6, 0 for IPv4."""
        return int.from_bytes(self.raw[1:4], "big") & 0xFFFFF if self.version == 6 else 0

    def options(self) -> list[tuple[int, bytes]]:
        """Return IPv4's options, type and value, padding left out; an option that ends outside ends the list."""
        return list(walk_options(bytes(self.raw[20 : self.header_len]))) if self.version == 4 else []

    def extensions(self) -> list[tuple[int, memoryview]]:
        """Return IPv6's extension headers before `payload`, type and whole header, in order."""
        if self.version == 4:
            return []
        found, following, offset = [], self.raw[6], 40
        while offset < self.header_len:
            end = offset + _extension_length(following, self.raw, offset)
            found.append((following, self.raw[offset:end]))
            following, offset = self.raw[offset], end
        return found


def parse(raw: bytes | memoryview, *, cut: bool = False) -> Packet:
    """Read an IP packet; bytes behind its total length (link padding) are left out. `ValueError` if it is broken.

    With `cut`, a packet may end early, as a quoted one in an ICMP error or one in a capture of limited length does:
    its headers must be there, its payload goes as far as it goes.
    """
    view = raw if type(raw) is memoryview else memoryview(raw)
    size = len(view)
    if size < 20:
        raise ValueError("an IP header cut short" if size else "an empty packet")
    first, tos, total, ident, bits, ttl, proto, src, dst = _v4(view)
    if first == 0x45:
        header = 20
    elif first >> 4 == 4:
        header = (first & 15) * 4
    elif first >> 4 == 6:
        return _parse_v6(view, size, cut)
    else:
        raise ValueError(f"IP version {first >> 4}")
    if header < 20 or total < header:
        raise ValueError("an IPv4 packet whose lengths disagree")
    if total < size:
        view = view[:total]
    elif total > size and (not cut or header > size):
        raise ValueError("an IPv4 packet cut short")
    return _new(Packet, (4, src, dst, proto, ttl, ident, bits, header, total, tos, view[header:], view))


def _parse_v6(view: memoryview, size: int, cut: bool) -> Packet:
    if size < 40:
        raise ValueError("an IPv6 header cut short")
    first, length, following, ttl, src, dst = _v6(view)
    total = 40 + length
    if total < size:
        view, size = view[:total], total
    elif total > size and not cut:
        raise ValueError("an IPv6 packet cut short")
    offset, ident, bits = 40, 0, DF
    if following in EXTENSIONS:
        for _ in range(_MOST_EXTENSIONS):
            if offset + 8 > size:
                raise ValueError("an IPv6 extension header cut short")
            if following == FRAGMENT:
                field, ident = struct.unpack_from("!HI", view, offset + 2)
                bits = DF | (MF if field & 1 else 0) | field >> 3
            length = _extension_length(following, view, offset)
            following, offset = view[offset], offset + length
            if offset > size:
                raise ValueError("an IPv6 extension header that is longer than its packet")
            if following not in EXTENSIONS or bits & 0x1FFF:
                break
    tos = first >> 20 & 0xFF
    return _new(Packet, (6, src, dst, following, ttl, ident, bits, offset, total, tos, view[offset:], view))


def _extension_length(kind: int, view: memoryview, offset: int) -> int:
    if kind == FRAGMENT:
        return 8
    return (view[offset + 1] + 2) * 4 if kind == AUTHENTICATION else (view[offset + 1] + 1) * 8


def walk_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk the options of IPv4 or TCP: 0 ends them, 1 pads, all others have a length that counts itself."""
    offset = 0
    while offset < len(data) and (kind := data[offset]) != 0:
        if kind == 1:
            offset += 1
            continue
        length = data[offset + 1] if offset + 1 < len(data) else 0
        if length < 2 or offset + length > len(data):
            return
        yield kind, data[offset + 2 : offset + length]
        offset += length


def address_text(address: bytes) -> str:
    """Write an address of 4 or 16 bytes as people do."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"
    return str(ipaddress.IPv6Address(address))


def checksum(data: bytes | memoryview) -> int:
    """Return the Internet checksum (RFC 1071) of data.

    A one's complement sum of 16-bit words is the number that they write, modulo 65,535; only "no bit set" and "all set"
    need telling apart. One division of a big number is three times as fast as a sum.
    """
    number = int.from_bytes(data, "big") << (len(data) % 2 * 8)
    return 0xFFFF - (number % 0xFFFF or 0xFFFF) if number else 0xFFFF


def pseudo_header(src: bytes, dst: bytes, proto: int, length: int) -> bytes:
    """Return the pseudo header that TCP and UDP checksums cover."""
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, proto, length)
    return src + dst + struct.pack("!IHBB", length, 0, 0, proto)
