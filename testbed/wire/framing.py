"""What lies around an IP packet in a captured frame: Ethernet with its tags, Linux cooked, BSD loopback, PPP.

Link types: https://www.tcpdump.org/linktypes.html; the numbers are those of pcap and pcapng files.
"""

from __future__ import annotations

import struct

NULL, ETHERNET, PPP, RAW, LOOP, LINUX_SLL, IPV4, IPV6, LINUX_SLL2 = 0, 1, 9, 101, 108, 113, 228, 229, 276
_RAW_TYPES = frozenset((RAW, 12, 14, IPV4, IPV6))
READ = frozenset((NULL, ETHERNET, PPP, LOOP, LINUX_SLL, LINUX_SLL2)) | _RAW_TYPES
"""The link types in whose frames IP is looked for."""
_TAGS = frozenset((0x8100, 0x88A8, 0x9100))
_PPPOE, _MPLS = 0x8864, frozenset((0x8847, 0x8848))
_IP_TYPES = frozenset((0x0800, 0x86DD))
_PPP_IP = frozenset((0x0021, 0x0057))
#: AF_INET, and what Linux, FreeBSD, Darwin and NetBSD number AF_INET6, as a little- or big-endian word
_FAMILIES = frozenset(struct.pack(order + "I", number) for number in (2, 10, 24, 28, 30) for order in "<>")


def strip_link(linktype: int, data: bytes) -> memoryview | None:
    """Return the IP packet inside a captured frame, None if it carries none."""
    start = packet_offset(linktype, data)
    return None if start is None else memoryview(data)[start:]


def packet_offset(linktype: int, data: bytes) -> int | None:
    """Return where in a captured frame its IP packet begins, None if it carries none."""
    if linktype == ETHERNET:
        start = 14 if data[12:14] == b"\x08\x00" else _behind_ethertype(data, 12)
    elif linktype in _RAW_TYPES:
        start = 0
    elif linktype == LINUX_SLL:
        start = _behind_ethertype(data, 14)
    elif linktype == LINUX_SLL2:
        start = _behind_ethertype(data, 0, 20)
    elif linktype in (NULL, LOOP):
        start = 4 if data[:4] in _FAMILIES else None
    elif linktype == PPP:
        start = _behind_ppp(data, 2 if data[:2] == b"\xff\x03" else 0)
    else:
        start = None
    return start if start is not None and start < len(data) else None


def _behind_ethertype(data: bytes, offset: int, start: int | None = None) -> int | None:
    """Follow tags and tunnels from the EtherType at `offset`; what it describes begins at `start`."""
    kind = int.from_bytes(data[offset : offset + 2], "big")
    start = offset + 2 if start is None else start
    while kind in _TAGS:
        kind, start = int.from_bytes(data[start + 2 : start + 4], "big"), start + 4
    if kind in _IP_TYPES:
        return start
    if kind == _PPPOE:
        return _behind_ppp(data, start + 6)
    if kind in _MPLS:
        return _behind_labels(data, start)
    return None


def _behind_ppp(data: bytes, offset: int) -> int | None:
    """PPP's protocol number, two bytes or compressed to one (RFC 1661 §6.5)."""
    if data[offset : offset + 1] in (b"\x21", b"\x57"):
        return offset + 1
    return offset + 2 if int.from_bytes(data[offset : offset + 2], "big") in _PPP_IP else None


def _behind_labels(data: bytes, offset: int) -> int | None:
    """MPLS says nowhere what it carries (RFC 3032 §2.2): take it for IP if the version says so."""
    while offset + 4 < len(data):
        bottom = data[offset + 2] & 1
        offset += 4
        if bottom:
            return offset if data[offset] >> 4 in (4, 6) else None
    return None
