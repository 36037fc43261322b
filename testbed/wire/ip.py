"""IPv4 (RFC 791) and IPv6 (RFC 8200) headers, with options, extension headers and fragment fields."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_V4 = struct.Struct("!BBHHHBBH4s4s")
_V6 = struct.Struct("!IHBB16s16s")
_MOST_EXTENSIONS = 8


@dataclass(slots=True)
class Packet:
    """An IP packet. Lengths in bytes; `frag_offset` in bytes; `proto` is that of `payload`."""

    version: int
    src: bytes
    dst: bytes
    proto: int
    ttl: int
    ident: int
    df: bool
    mf: bool
    frag_offset: int
    header_len: int
    total_len: int
    tos: int
    payload: memoryview
    raw: memoryview

    @property
    def is_fragment(self) -> bool:
        """Say whether this is one piece of a larger packet."""
        return self.mf or self.frag_offset > 0


def parse(raw: bytes | memoryview) -> Packet:
    """Read an IP packet; bytes behind its total length (link padding) are left out. `ValueError` if it is broken."""
    view = memoryview(raw)
    if not view:
        raise ValueError("an empty packet")
    version = view[0] >> 4
    if version == 4:
        return _parse_v4(view)
    if version == 6:
        return _parse_v6(view)
    raise ValueError(f"IP version {version}")


def _parse_v4(view: memoryview) -> Packet:
    if len(view) < 20:
        raise ValueError("an IPv4 header cut short")
    first, tos, total, ident, fragment, ttl, proto, _, src, dst = _V4.unpack_from(view)
    header = (first & 15) * 4
    if header < 20 or total < header or total > len(view):
        raise ValueError("an IPv4 packet whose lengths disagree")
    return Packet(
        4, src, dst, proto, ttl, ident, bool(fragment & 0x4000), bool(fragment & 0x2000), (fragment & 0x1FFF) * 8,
        header, total, tos, view[header:total], view[:total],
    )  # fmt: skip


def _parse_v6(view: memoryview) -> Packet:
    if len(view) < 40:
        raise ValueError("an IPv6 header cut short")
    first, length, following, ttl, src, dst = _V6.unpack_from(view)
    total = 40 + length
    if total > len(view):
        raise ValueError("an IPv6 packet cut short")
    offset, ident, more, fragment = 40, 0, False, 0
    for _ in range(_MOST_EXTENSIONS):
        if following not in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION):
            break
        if offset + 8 > total:
            raise ValueError("an IPv6 extension header cut short")
        if following == _FRAGMENT:
            field, ident = struct.unpack_from("!HI", view, offset + 2)
            more, fragment = bool(field & 1), field & 0xFFF8
            following, offset = view[offset], offset + 8
            if fragment:
                break
        elif following == _AUTHENTICATION:
            following, offset = view[offset], offset + (view[offset + 1] + 2) * 4
        else:
            following, offset = view[offset], offset + (view[offset + 1] + 1) * 8
        if offset > total:
            raise ValueError("an IPv6 extension header that is longer than its packet")
    tos = first >> 20 & 0xFF
    return Packet(
        6, src, dst, following, ttl, ident, True, more, fragment, offset, total, tos, view[offset:total], view[:total]
    )


def address_text(address: bytes) -> str:
    """Write an address of 4 or 16 bytes as people do."""
    if len(address) == 4:
        return ".".join(map(str, address))
    return str(ipaddress.IPv6Address(address))


def checksum(data: bytes | memoryview) -> int:
    """Return the Internet checksum (RFC 1071) of data."""
    data = bytes(data)
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(src: bytes, dst: bytes, proto: int, length: int) -> bytes:
    """Return the pseudo header that TCP and UDP checksums cover."""
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, proto, length)
    return src + dst + struct.pack("!IHBB", length, 0, 0, proto)
